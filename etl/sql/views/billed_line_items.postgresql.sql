SELECT
    b.organization_id,
    b.project_id,
    to_char(b.start_time, 'YYYY-MM-DD') AS day,
    to_char(b.start_time, 'YYYY-MM') AS month,
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
