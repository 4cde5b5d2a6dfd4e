package api

import (
	"context"
	"time"
)

// StatusBody is the state of the control plane.
type StatusBody struct {
	Quiescent      bool           `json:"quiescent" doc:"Nothing is open and every host was looked at since the last disturbance"`
	OpenOperations int64          `json:"open_operations"`
	Reconciling    int64          `json:"reconciling" doc:"Deckies that are being repaired"`
	LastDisturbed  time.Time      `json:"last_disturbed"`
	Observer       []ObserverPass `json:"observer" nullable:"false" doc:"The last look at each host"`
	Roles          []RoleInstance `json:"roles" nullable:"false" doc:"The processes that serve"`
	OutboxBacklog  int64          `json:"outbox_backlog" doc:"Events not published yet"`
	Runtime        *string        `json:"runtime"`
	Version        string         `json:"version"`
	InstallationID string         `json:"installation_id"`
	Epoch          int            `json:"epoch" doc:"Rises with every restore"`
}

// ObserverPass is the last complete comparison of a host with what is desired.
type ObserverPass struct {
	HostID     string    `json:"host_id"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
	Decoys     int       `json:"decoys"`
	Drift      int       `json:"drift"`
}

// RoleInstance is a process's share in a role.
type RoleInstance struct {
	Role      string    `json:"role"`
	HostID    string    `json:"host_id"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
	SeenAt    time.Time `json:"seen_at"`
}

func (s *server) registerStatus() {
	register(s, viewer, get("get-status", "/status", "The state of the control plane", "status"), s.status)
}

func (s *server) status(ctx context.Context, _ *empty) (*output[StatusBody], error) {
	quiescence, err := s.deps.Store.Quiescence(ctx)
	if err != nil {
		return nil, err
	}
	roles, err := s.deps.Store.Roles(ctx)
	if err != nil {
		return nil, err
	}
	backlog, err := s.deps.Store.CountUnpublished(ctx)
	if err != nil {
		return nil, err
	}
	installation, err := s.deps.Store.Installation(ctx)
	if err != nil {
		return nil, err
	}
	body := StatusBody{
		Quiescent: quiescence.Quiet(), OpenOperations: quiescence.OpenOperations, Reconciling: quiescence.Reconciling,
		LastDisturbed: quiescence.LastDisturbed.UTC(), OutboxBacklog: backlog, Runtime: optional(installation.Runtime),
		Version: s.opts.Version, InstallationID: installation.ID.String(), Epoch: installation.Epoch,
		Observer: make([]ObserverPass, len(quiescence.Passes)), Roles: make([]RoleInstance, len(roles)),
	}
	for i, p := range quiescence.Passes {
		body.Observer[i] = ObserverPass{
			HostID: p.HostID, StartedAt: p.StartedAt.UTC(), FinishedAt: p.FinishedAt.UTC(), Decoys: p.Decoys, Drift: p.Drift,
		}
	}
	for i, r := range roles {
		body.Roles[i] = RoleInstance{Role: r.Role, HostID: r.HostID, PID: r.PID, StartedAt: r.StartedAt.UTC(), SeenAt: r.SeenAt.UTC()}
	}
	return &output[StatusBody]{Body: body}, nil
}
