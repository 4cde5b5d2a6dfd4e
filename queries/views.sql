-- name: SetViewLimits :exec
-- For the transaction. Plans are made for the values at hand: a filter that is null folds away, and whether an index or the
-- order is walked depends on how common what is looked for is.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true),
       set_config('statement_timeout', @statement_ms::text, true),
       set_config('idle_in_transaction_session_timeout', @idle_ms::text, true);
