SELECT
    j.id AS job_id,
    j.source,
    j.provider,
    j.id_space,
    j.organization_id,
    j.project_id,
    j.status,
    j.model,
    j.base_model,
    j.fine_tuned_model,
    j.user_provided_suffix,
    j.method_type,
    j.training_file,
    j.validation_file,
    j.trained_tokens,
    j.seed,
    j.error_code,
    j.created_at,
    times.started_at,
    j.finished_at,
    j.estimated_finish,
    times.queue_seconds,
    times.run_seconds,
    times.total_seconds,
    -- Each figure is looked up by key, so that a query pays for what it asks for only: a join of
    -- grouped rows would read every job's for one. A value that stands under the method counts
    -- before one at the top level; NULL is `auto`.
    (
        SELECT h.value_number
        FROM job_hyperparameters h
        WHERE h.job_id = j.id AND h.scope IN (j.method_type, 'job') AND h.name = 'n_epochs'
        ORDER BY CASE WHEN h.scope = 'job' THEN 1 ELSE 0 END
        LIMIT 1
    ) AS n_epochs,
    (
        SELECT h.value_number
        FROM job_hyperparameters h
        WHERE h.job_id = j.id AND h.scope IN (j.method_type, 'job') AND h.name = 'batch_size'
        ORDER BY CASE WHEN h.scope = 'job' THEN 1 ELSE 0 END
        LIMIT 1
    ) AS batch_size,
    (
        SELECT h.value_number
        FROM job_hyperparameters h
        WHERE
            h.job_id = j.id
            AND h.scope IN (j.method_type, 'job')
            AND h.name = 'learning_rate_multiplier'
        ORDER BY CASE WHEN h.scope = 'job' THEN 1 ELSE 0 END
        LIMIT 1
    ) AS learning_rate_multiplier,
    (
        SELECT h.value_number
        FROM job_hyperparameters h
        WHERE h.job_id = j.id AND h.scope IN (j.method_type, 'job') AND h.name = 'beta'
        ORDER BY CASE WHEN h.scope = 'job' THEN 1 ELSE 0 END
        LIMIT 1
    ) AS beta,
    (
        SELECT h.value_number
        FROM job_hyperparameters h
        WHERE h.job_id = j.id AND h.scope IN (j.method_type, 'job') AND h.name = 'compute_multiplier'
        ORDER BY CASE WHEN h.scope = 'job' THEN 1 ELSE 0 END
        LIMIT 1
    ) AS compute_multiplier,
    (
        SELECT h.value_number
        FROM job_hyperparameters h
        WHERE h.job_id = j.id AND h.scope IN (j.method_type, 'job') AND h.name = 'eval_interval'
        ORDER BY CASE WHEN h.scope = 'job' THEN 1 ELSE 0 END
        LIMIT 1
    ) AS eval_interval,
    (
        SELECT h.value_number
        FROM job_hyperparameters h
        WHERE h.job_id = j.id AND h.scope IN (j.method_type, 'job') AND h.name = 'eval_samples'
        ORDER BY CASE WHEN h.scope = 'job' THEN 1 ELSE 0 END
        LIMIT 1
    ) AS eval_samples,
    (
        SELECT h.value_text
        FROM job_hyperparameters h
        WHERE h.job_id = j.id AND h.scope IN (j.method_type, 'job') AND h.name = 'reasoning_effort'
        ORDER BY CASE WHEN h.scope = 'job' THEN 1 ELSE 0 END
        LIMIT 1
    ) AS reasoning_effort,
    (SELECT c.cost_usd FROM job_costs c WHERE c.job_id = j.id) AS cost_usd,
    j.shared_with_openai,
    j.eval_id,
    (SELECT count(*) FROM job_events e WHERE e.job_id = j.id) AS events_count,
    (SELECT count(*) FROM job_checkpoints c WHERE c.job_id = j.id) AS checkpoints_count,
    (SELECT count(*) FROM job_result_files f WHERE f.job_id = j.id) AS result_files_count,
    (SELECT count(*) FROM job_metadata m WHERE m.job_id = j.id) AS metadata_count,
    (
        SELECT count(*) + 1
        FROM record_versions v
        WHERE v.resource = 'jobs' AND v.id = j.id
    ) AS versions_count,
    r.missing_since IS NOT NULL AS is_missing,
    r.missing_since,
    times.created_on,
    times.created_in,
    times.ended_at,
    times.training_seconds,
    (
        SELECT i.wandb_project
        FROM job_integrations i
        WHERE i.job_id = j.id AND i.type = 'wandb'
        ORDER BY i.position
        LIMIT 1
    ) AS wandb_project,
    (
        SELECT i.wandb_run_id
        FROM job_integrations i
        WHERE i.job_id = j.id AND i.type = 'wandb'
        ORDER BY i.position
        LIMIT 1
    ) AS wandb_run_id
FROM jobs j
JOIN job_times times ON times.job_id = j.id
LEFT JOIN records r ON r.resource = 'jobs' AND r.id = j.id
