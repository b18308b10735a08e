SELECT
    c.job_id,
    c.source,
    c.provider,
    c.id_space,
    c.project_id,
    c.status,
    c.model,
    c.base_model,
    c.method_type,
    c.created_at,
    c.spent_at,
    c.spent_on,
    c.spent_in,
    c.trained_tokens,
    c.unit,
    c.quantity,
    c.origin,
    round(c.amount_microusd * 0.000001, 6) AS price_usd,
    c.per_quantity,
    c.price_confidence,
    c.cost_microusd,
    round(c.cost_microusd * 0.000001, 6) AS cost_usd,
    CASE
        WHEN c.reason IN ('open', 'unknown_status') THEN 'open'
        WHEN c.cost_microusd IS NULL THEN 'unpriced'
        WHEN c.reason IN ('failed', 'cancelled', 'stopped_before_training', 'free_allowance')
            THEN 'uncertain'
        WHEN c.unit = 'training_second' THEN 'estimate'
        ELSE 'list_price'
    END AS certainty,
    c.reason
FROM (
    SELECT
        p.*,
        -- Rounded half up, once a job; for nothing used, and for what Azure gives free, nothing.
        CASE
            WHEN
                p.reason IN (
                    'open', 'unknown_status', 'unknown_method', 'negative_tokens', 'no_usage',
                    'absurd_quantity', 'no_price', 'outside_price_dates'
                )
                THEN NULL
            WHEN p.reason IN ('free', 'stopped_before_training') THEN 0
            -- What fills whole units and what is left, each within 64 bits.
            ELSE CAST(
                (p.priced_quantity - p.priced_quantity % p.per_quantity)
                / p.per_quantity
                * p.amount_microusd
                + (
                    2 * (p.priced_quantity % p.per_quantity) * p.amount_microusd + p.per_quantity
                    - (
                        2 * (p.priced_quantity % p.per_quantity) * p.amount_microusd
                        + p.per_quantity
                    ) % (2 * p.per_quantity)
                ) / (2 * p.per_quantity) AS DECIMAL(38, 0)
            )
        END AS cost_microusd
    FROM (
        SELECT
            q.*,
            CASE
                WHEN q.status IN ('succeeded', 'failed', 'cancelled') THEN
                    CASE
                        WHEN q.provider = 'azure' AND q.status = 'failed' THEN 'free'
                        WHEN q.method_type NOT IN ('supervised', 'dpo', 'reinforcement')
                            THEN 'unknown_method'
                        WHEN q.trained_tokens < 0 AND q.unit = 'trained_token'
                            THEN 'negative_tokens'
                        WHEN
                            q.quantity IS NULL
                            AND q.status IN ('failed', 'cancelled')
                            AND q.never_began = 1
                            THEN 'stopped_before_training'
                        WHEN q.quantity IS NULL THEN 'no_usage'
                        WHEN q.amount_microusd IS NULL AND q.is_known = 1
                            THEN 'outside_price_dates'
                        WHEN q.amount_microusd IS NULL THEN 'no_price'
                        WHEN q.quantity > 1000000000000 THEN 'absurd_quantity'
                        WHEN q.status IN ('failed', 'cancelled') THEN q.status
                        WHEN q.has_free_allowance THEN 'free_allowance'
                    END
                WHEN
                    q.status IN ('created', 'validating_files', 'pending', 'queued', 'running', 'paused')
                    THEN 'open'
                ELSE 'unknown_status'
            END AS reason,
            CASE
                WHEN q.quantity <= 1000000000000 THEN
                    (
                        2 * q.quantity + q.quantity_step
                        - (2 * q.quantity + q.quantity_step) % (2 * q.quantity_step)
                    ) / 2
            END AS priced_quantity
        FROM (
            SELECT
                j.id AS job_id,
                j.source,
                j.provider,
                j.id_space,
                j.project_id,
                j.status,
                j.model,
                j.base_model,
                j.method_type,
                j.created_at,
                j.trained_tokens,
                u.spent_at,
                u.spent_on,
                u.spent_in,
                u.unit,
                u.quantity,
                u.origin,
                b.amount_microusd,
                b.per_quantity,
                b.quantity_step,
                b.has_free_allowance,
                b.confidence AS price_confidence,
                CASE
                    WHEN b.amount_microusd IS NULL AND EXISTS (
                        SELECT 1
                        FROM prices a
                        WHERE
                            a.provider = j.provider
                            AND a.unit = u.unit
                            AND a.method IN ('', coalesce(j.method_type, 'supervised'))
                            AND (
                                a.model = j.base_model
                                OR replace(a.model, '*', '') = substr(j.base_model, 1, a.prefix_length)
                            )
                    ) THEN 1
                    ELSE 0
                END AS is_known,
                -- All its events are read, and none says that training began.
                CASE
                    WHEN u.quantity IS NULL AND j.status IN ('failed', 'cancelled') AND EXISTS (
                        SELECT 1
                        FROM child_progress e
                        WHERE e.resource = 'events' AND e.parent_id = j.id AND e.is_settled
                    ) AND NOT EXISTS (
                        SELECT 1
                        FROM job_events e
                        WHERE
                            e.job_id = j.id
                            AND (
                                e.message IN (
                                    'Fine-tuning job started', 'Fine-tune started', 'Job started.'
                                )
                                OR e.type = 'metrics'
                            )
                    ) THEN 1
                    ELSE 0
                END AS never_began
            FROM jobs j
            JOIN billable_usage u ON u.job_id = j.id
            LEFT JOIN prices b
                ON b.precedence = (
                    SELECT max(a.precedence)
                    FROM prices a
                    WHERE
                        a.provider = j.provider
                        AND a.unit = u.unit
                        AND a.method IN ('', coalesce(j.method_type, 'supervised'))
                        AND (
                            a.model = j.base_model
                            OR replace(a.model, '*', '') = substr(j.base_model, 1, a.prefix_length)
                        )
                        AND a.valid_from <= j.created_at
                        AND (a.valid_until IS NULL OR a.valid_until > j.created_at)
                )
        ) q
    ) p
) c
