SELECT
    m.job_id,
    m.origin,
    -- NULL where several files or events told of the step; of two values the larger one stands.
    CASE WHEN min(m.origin_id) = max(m.origin_id) THEN min(m.origin_id) END AS origin_id,
    m.step,
    max(CASE WHEN m.name = 'train_loss' THEN m.value END) AS train_loss,
    coalesce(
        max(CASE WHEN m.name = 'train_mean_token_accuracy' THEN m.value END),
        -- As result files call it.
        max(CASE WHEN m.name = 'train_accuracy' THEN m.value END)
    ) AS train_mean_token_accuracy,
    max(CASE WHEN m.name = 'valid_loss' THEN m.value END) AS valid_loss,
    max(CASE WHEN m.name = 'valid_mean_token_accuracy' THEN m.value END)
        AS valid_mean_token_accuracy,
    max(CASE WHEN m.name = 'full_valid_loss' THEN m.value END) AS full_valid_loss,
    max(CASE WHEN m.name = 'full_valid_mean_token_accuracy' THEN m.value END)
        AS full_valid_mean_token_accuracy,
    max(CASE WHEN m.name = 'train_mean_reward' THEN m.value END) AS train_mean_reward,
    max(CASE WHEN m.name = 'full_valid_mean_reward' THEN m.value END) AS full_valid_mean_reward
FROM training_metrics m
GROUP BY m.job_id, m.origin, m.step
