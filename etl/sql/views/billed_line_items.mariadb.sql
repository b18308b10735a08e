SELECT
    b.organization_id,
    b.project_id,
    date_format(b.start_time, '%Y-%m-%d') AS day,
    date_format(b.start_time, '%Y-%m') AS month,
    b.line_item,
    -- The longest pattern decides, so that one line item is of one kind.
    (
        SELECT k.kind
        FROM line_item_patterns k
        WHERE replace(lower(b.line_item), k.pattern, '') <> lower(b.line_item)
        ORDER BY length(k.pattern) DESC, k.pattern
        LIMIT 1
    ) AS kind,
    b.currency,
    b.amount,
    b.amount_nano,
    b.quantity,
    b.quantity_unit
FROM billed_costs b
