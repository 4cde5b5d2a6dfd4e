package workflows

// Change ids for workflow.GetVersion. There is none yet: no release has open executions.
