-- What each chart of the bundle has to show, asked of the views by hand: a heading `name (figure)`
-- with the chart's file and the column whose sum stands for it, and a query with its columns.

-- spend_total (cost_usd)
SELECT coalesce(sum(cost_usd), 0) AS cost_usd FROM spend_by_day;

-- spend_uncertain (cost_usd)
SELECT coalesce(sum(cost_usd), 0) AS cost_usd FROM job_costs WHERE certainty = 'uncertain';

-- spend_unpriced (jobs)
SELECT count(*) AS jobs FROM unpriced_jobs;

-- spend_tokens (tokens)
SELECT coalesce(sum(trained_tokens), 0) AS tokens
FROM job_costs WHERE trained_tokens BETWEEN 0 AND 1000000000000;

-- spend_by_month (cost_usd)
SELECT spent_in, certainty, sum(cost_usd) AS cost_usd
FROM job_costs WHERE cost_usd > 0 GROUP BY spent_in, certainty;

-- spend_billed (billed)
SELECT e.month, e.estimated, b.billed
FROM (SELECT month, sum(estimated) AS estimated FROM spend_reconciliation GROUP BY month) e
LEFT JOIN (
    SELECT month, sum(CASE WHEN kind = 'training' THEN amount ELSE 0 END) AS billed
    FROM billed_line_items GROUP BY month
) b ON b.month = e.month;

-- spend_by_model (cost_usd)
SELECT coalesce(base_model, '(not said)') AS model, coalesce(sum(cost_usd), 0) AS cost_usd
FROM job_costs GROUP BY base_model;

-- spend_by_method (cost_usd)
SELECT coalesce(method_type, '(not said)') AS method, coalesce(sum(cost_usd), 0) AS cost_usd
FROM job_overview GROUP BY method_type;

-- spend_by_project (cost_usd)
SELECT
    coalesce(max(p.project_name), '(no name)') AS project,
    c.project_id,
    count(*) AS jobs,
    coalesce(sum(c.trained_tokens), 0) AS trained_tokens,
    coalesce(sum(c.cost_usd), 0) AS cost_usd,
    coalesce(sum(CASE WHEN c.certainty = 'uncertain' THEN c.cost_usd END), 0) AS uncertain_usd,
    sum(CASE WHEN c.certainty = 'unpriced' THEN 1 ELSE 0 END) AS unpriced_jobs
FROM job_costs c
LEFT JOIN spend_by_project p ON p.project_id = c.project_id
GROUP BY c.project_id;

-- spend_by_metadata (cost_usd)
SELECT name, coalesce(value, '(without this key)') AS value, jobs, cost_usd, uncertain_usd,
    unpriced_jobs
FROM spend_by_metadata;

-- spend_unpriced_reasons (jobs)
SELECT reason, base_model, count(*) AS jobs
FROM job_costs WHERE certainty = 'unpriced' GROUP BY reason, base_model;

-- spend_dearest (cost_usd)
SELECT job_id, base_model, coalesce(method_type, '(not said)') AS method, status, spent_on,
    certainty, cost_usd
FROM job_costs WHERE certainty NOT IN ('unpriced', 'open')
ORDER BY cost_usd DESC, job_id LIMIT 1000;

-- outcomes_jobs (jobs)
SELECT count(*) AS jobs FROM job_overview;

-- outcomes_success (share)
SELECT coalesce(avg(CASE WHEN status = 'succeeded' THEN 1.0 ELSE 0.0 END), 0) AS share
FROM job_overview WHERE status IN ('succeeded', 'failed', 'cancelled');

-- outcomes_failed (jobs)
SELECT count(*) AS jobs FROM job_failures WHERE status = 'failed';

-- outcomes_wasted (cost_usd)
SELECT coalesce(sum(cost_usd), 0) AS cost_usd FROM job_failures;

-- outcomes_by_month (jobs)
SELECT u.spent_in, j.status, count(*) AS jobs
FROM job_overview j JOIN billable_usage u ON u.job_id = j.job_id GROUP BY u.spent_in, j.status;

-- outcomes_failures (jobs)
SELECT status AS failure, count(*) AS jobs
FROM job_overview WHERE status = 'cancelled' GROUP BY status
UNION ALL
SELECT coalesce(error_code, '(no code)'), count(*)
FROM job_overview WHERE status = 'failed' GROUP BY error_code;

-- outcomes_by_model (jobs)
SELECT base_model, status, count(*) AS jobs FROM job_overview GROUP BY base_model, status;

-- outcomes_durations (running)
SELECT u.spent_in, avg(j.queue_seconds) / 60.0 AS waiting, avg(j.run_seconds) / 60.0 AS running
FROM job_overview j JOIN billable_usage u ON u.job_id = j.job_id GROUP BY u.spent_in;

-- outcomes_durations_by_model (jobs)
SELECT base_model, count(*) AS jobs, avg(queue_seconds) / 60.0, max(queue_seconds) / 60.0,
    avg(run_seconds) / 60.0, max(run_seconds) / 60.0
FROM job_overview WHERE run_seconds IS NOT NULL GROUP BY base_model;

-- outcomes_recent_failures
SELECT created_at, job_id, model, error_code, error_message
FROM job_failures WHERE status = 'failed' ORDER BY created_at DESC, job_id LIMIT 1000;

-- training_jobs (jobs)
SELECT count(DISTINCT job_id) AS jobs
FROM training_curves
WHERE origin = 'checkpoint'
    AND (train_loss IS NOT NULL OR valid_loss IS NOT NULL OR full_valid_loss IS NOT NULL);

-- training_validated (jobs)
SELECT count(*) AS jobs FROM best_checkpoints WHERE loss_name = 'full_valid_loss';

-- training_loss_mean (loss)
SELECT avg(loss) AS loss FROM best_checkpoints WHERE loss_name = 'full_valid_loss';

-- training_train_curves (train_loss)
SELECT step, job_id, train_loss
FROM training_curves WHERE origin = 'result_file' AND job_id IN (
    SELECT job_id FROM (
        SELECT j.job_id FROM job_overview j
        WHERE j.status = 'succeeded' AND EXISTS (
            SELECT 1 FROM training_curves c
            WHERE c.job_id = j.job_id AND c.origin = 'checkpoint'
                AND (c.valid_loss IS NOT NULL OR c.full_valid_loss IS NOT NULL)
        )
        ORDER BY j.created_at DESC, j.job_id LIMIT 5
    ) newest
);

-- training_valid_curves (valid_loss)
SELECT step, job_id, valid_loss
FROM training_curves WHERE origin = 'result_file' AND valid_loss IS NOT NULL AND job_id IN (
    SELECT job_id FROM (
        SELECT j.job_id FROM job_overview j
        WHERE j.status = 'succeeded' AND EXISTS (
            SELECT 1 FROM training_curves c
            WHERE c.job_id = j.job_id AND c.origin = 'checkpoint'
                AND (c.valid_loss IS NOT NULL OR c.full_valid_loss IS NOT NULL)
        )
        ORDER BY j.created_at DESC, j.job_id LIMIT 5
    ) newest
);

-- training_loss_against_cost (cost_usd)
SELECT c.job_id, c.base_model, c.cost_usd, b.loss, coalesce(c.trained_tokens, 0) AS tokens
FROM job_costs c JOIN best_checkpoints b ON b.job_id = c.job_id
WHERE b.loss_name = 'full_valid_loss' AND c.cost_usd > 0;

-- training_by_model (loss)
SELECT c.base_model, avg(b.loss) AS loss
FROM best_checkpoints b JOIN job_costs c ON c.job_id = b.job_id
WHERE b.loss_name = 'full_valid_loss' GROUP BY c.base_model;

-- training_best (cost_usd)
SELECT j.base_model, j.user_provided_suffix, j.n_epochs, b.step_number, b.loss, c.cost_usd,
    b.fine_tuned_model_checkpoint
FROM best_checkpoints b
JOIN job_overview j ON j.job_id = b.job_id
JOIN job_costs c ON c.job_id = b.job_id
WHERE b.loss_name = 'full_valid_loss' ORDER BY b.loss, b.job_id LIMIT 1000;

-- freshness_age (hours)
SELECT coalesce(max(age_seconds) / 3600.0, 0) AS hours FROM sync_health;

-- freshness_troubled (lists)
SELECT count(*) AS lists FROM sync_health WHERE last_status <> 'success';

-- freshness_quarantine (records)
SELECT coalesce(sum(open_quarantine), 0) AS records FROM sync_health;

-- freshness_missing (jobs)
SELECT count(*) AS jobs FROM job_overview WHERE missing_since IS NOT NULL;

-- freshness_lists (last_run_id)
SELECT source, resource, last_success_at, age_seconds / 60.0 AS age_minutes, last_run_id,
    last_status, open_quarantine, last_error
FROM sync_health;

-- freshness_runs (states)
SELECT run_id, CASE WHEN sequence > 1 THEN 'changed' ELSE 'first seen' END AS what,
    count(*) AS states
FROM job_history GROUP BY run_id, CASE WHEN sequence > 1 THEN 'changed' ELSE 'first seen' END;

-- freshness_changes (sequence)
SELECT recorded_at, run_id, job_id, sequence, status, changed_fields
FROM job_history WHERE sequence > 1 ORDER BY recorded_at DESC, job_id, sequence DESC LIMIT 1000;
