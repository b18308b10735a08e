SELECT
    r.job_id,
    r.checkpoint_id,
    r.fine_tuned_model_checkpoint,
    r.step_number,
    r.loss,
    r.loss_name,
    r.created_at,
    r.last_step_number
FROM (
    SELECT
        c.job_id,
        c.id AS checkpoint_id,
        c.fine_tuned_model_checkpoint,
        c.step_number,
        coalesce(c.full_valid_loss, c.valid_loss, c.train_loss) AS loss,
        CASE
            WHEN c.full_valid_loss IS NOT NULL THEN 'full_valid_loss'
            WHEN c.valid_loss IS NOT NULL THEN 'valid_loss'
            ELSE 'train_loss'
        END AS loss_name,
        c.created_at,
        max(c.step_number) OVER (PARTITION BY c.job_id) AS last_step_number,
        row_number() OVER (
            PARTITION BY c.job_id
            ORDER BY
                -- Losses of two kinds do not compare: the best kind that the job has decides.
                CASE
                    WHEN c.full_valid_loss IS NOT NULL THEN 1
                    WHEN c.valid_loss IS NOT NULL THEN 2
                    ELSE 3
                END,
                coalesce(c.full_valid_loss, c.valid_loss, c.train_loss),
                coalesce(c.step_number, -1) DESC,
                c.id
        ) AS place
    FROM job_checkpoints c
    WHERE coalesce(c.full_valid_loss, c.valid_loss, c.train_loss) IS NOT NULL
) r
WHERE r.place = 1
