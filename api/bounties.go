package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/decnet/decnet/db"
)

// BountyBody is a fact about an attacker, at its first sighting.
type BountyBody struct {
	ID         string          `json:"id"`
	Type       string          `json:"type" enum:"fingerprint,ip_leak,artifact,probe_relay"`
	Kind       *string         `json:"kind"`
	Time       time.Time       `json:"time"`
	Decky      string          `json:"decky" doc:"Its name"`
	DeckyKey   string          `json:"decky_key"`
	Service    string          `json:"service"`
	AttackerID string          `json:"attacker_id"`
	AttackerIP string          `json:"attacker_ip"`
	Payload    json.RawMessage `json:"payload" doc:"An object"`
}

type bountiesInput struct {
	ListInput
	PlaceFilter
	Type string `query:"type" enum:"fingerprint,ip_leak,artifact,probe_relay"`
	Kind string `query:"kind" maxLength:"64"`
}

func (s *server) registerBounties() {
	registerList(s, viewer, get("list-bounties", "/bounties", "List facts about attackers, newest first", "attackers"), s.listBounties)
}

func (s *server) listBounties(_ context.Context, in *bountiesInput) (pager[BountyBody], error) {
	return scoped(in.PlaceFilter, func(ctx context.Context, v *db.View, scope db.Scope, before db.Place, limit int) ([]db.Bounty, error) {
		return v.Bounties(ctx, db.BountyFilter{Scope: scope, Type: in.Type, Kind: in.Kind, Before: before, Limit: limit})
	}, func(b db.Bounty) db.Place { return db.Place{Time: b.Time, ID: b.ID} }, func(b db.Bounty) BountyBody {
		return BountyBody{
			ID: b.ID.String(), Type: b.Type, Kind: optional(b.Kind), Time: b.Time.UTC(), Decky: b.DeckyName, DeckyKey: b.DeckyKey,
			Service: b.Service, AttackerID: b.AttackerID.String(), AttackerIP: b.AttackerIP.String(), Payload: b.Payload,
		}
	})
}
