package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/ingest"
)

// CredentialBody is a secret tried by one attacker on one service of one decky. Viewers see masks.
type CredentialBody struct {
	ID              string    `json:"id"`
	Decky           string    `json:"decky" doc:"Its name"`
	DeckyKey        string    `json:"decky_key"`
	Service         string    `json:"service"`
	AttackerID      string    `json:"attacker_id"`
	AttackerIP      string    `json:"attacker_ip"`
	Principal       *string   `json:"principal"`
	SecretKind      string    `json:"secret_kind"`
	SecretPrintable string    `json:"secret_printable" doc:"Cut"`
	SecretB64       string    `json:"secret_b64" doc:"Cut"`
	SecretSHA256    string    `json:"secret_sha256" doc:"Of all of it"`
	Outcome         *string   `json:"outcome"`
	AttemptCount    int64     `json:"attempt_count"`
	FirstSeen       time.Time `json:"first_seen"`
	LastSeen        time.Time `json:"last_seen"`
}

// ReuseBody is one secret tried at several targets. Viewers see masks.
type ReuseBody struct {
	ID              string    `json:"id"`
	Principal       *string   `json:"principal"`
	SecretKind      string    `json:"secret_kind"`
	SecretPrintable string    `json:"secret_printable" doc:"Cut"`
	SecretB64       string    `json:"secret_b64" doc:"Cut"`
	SecretSHA256    string    `json:"secret_sha256" doc:"Of all of it"`
	TargetCount     int       `json:"target_count" doc:"Services of deckies"`
	AttemptCount    int64     `json:"attempt_count"`
	Confidence      float64   `json:"confidence" doc:"Always 1: the secrets are equal"`
	AttackerIDs     []string  `json:"attacker_ids" nullable:"false"`
	AttackerIPs     []string  `json:"attacker_ips" nullable:"false"`
	Deckies         []string  `json:"deckies" nullable:"false"`
	Services        []string  `json:"services" nullable:"false"`
	FirstSeen       time.Time `json:"first_seen"`
	LastSeen        time.Time `json:"last_seen"`
}

type credentialsInput struct {
	ListInput
	PlaceFilter
	Principal  string `query:"principal" maxLength:"1024"`
	SecretKind string `query:"secret_kind" maxLength:"64"`
	Outcome    string `query:"outcome" maxLength:"32"`
	Secret     string `query:"secret" maxLength:"4096" doc:"Exactly this secret; for operators"`
}

type reuseInput struct {
	ListInput
	MinTargets int    `query:"min_targets" minimum:"2" maximum:"1000000" default:"2"`
	SecretKind string `query:"secret_kind" maxLength:"64"`
}

func (s *server) registerCredentials() {
	registerList(s, viewer, get("list-credentials", "/credentials", "List credentials, those tried last first", "credentials"), s.listCredentials)
}

func (s *server) registerReuse() {
	registerList(s, viewer, get("list-credential-reuse", "/credential-reuse", "List secrets tried at several targets", "credentials"), s.listReuse)
	register(s, viewer, get("get-credential-reuse", "/credential-reuse/{id}", "One secret tried at several targets", "credentials"), s.getReuse)
}

func (s *server) listCredentials(ctx context.Context, in *credentialsInput) (pager[CredentialBody], error) {
	who := principalOf(ctx)
	f := db.CredentialFilter{Principal: in.Principal, SecretKind: in.SecretKind, Outcome: in.Outcome}
	if in.Secret != "" {
		if !mayReadSecrets(who) {
			return nil, errRole()
		}
		sum := sha256.Sum256([]byte(in.Secret))
		f.SecretSHA256 = hex.EncodeToString(sum[:])
	}
	return scoped(in.PlaceFilter, func(ctx context.Context, v *db.View, scope db.Scope, before db.Place, limit int) ([]db.Credential, error) {
		f := f
		f.Scope, f.Before, f.Limit = scope, before, limit
		return v.Credentials(ctx, f)
	}, func(c db.Credential) db.Place { return db.Place{Time: c.LastSeen, ID: c.ID} }, func(c db.Credential) CredentialBody {
		secret := shown(c.Secret, who)
		return CredentialBody{
			ID: c.ID.String(), Decky: c.DeckyName, DeckyKey: c.DeckyKey, Service: c.Service, AttackerID: c.AttackerID.String(),
			AttackerIP: c.AttackerIP.String(), Principal: optional(c.Principal), SecretKind: secret.Kind, SecretPrintable: secret.Printable,
			SecretB64: secret.Base64, SecretSHA256: secret.SHA256, Outcome: optional(c.Outcome), AttemptCount: c.Attempts,
			FirstSeen: c.FirstSeen.UTC(), LastSeen: c.LastSeen.UTC(),
		}
	})
}

// shown masks a secret for who may not see it. The hash too: most secrets are soon guessed from theirs.
func shown(secret db.Secret, who principal) db.Secret {
	if mayReadSecrets(who) {
		return secret
	}
	return db.Secret{Kind: secret.Kind, Printable: ingest.Mask, Base64: ingest.Mask, SHA256: ingest.Mask}
}

func (s *server) listReuse(ctx context.Context, in *reuseInput) (pager[ReuseBody], error) {
	who := principalOf(ctx)
	return func(ctx context.Context, v *db.View, after string, limit int) ([]entry[ReuseBody], error) {
		numbers, id, err := parseCursor(after, 2)
		if err != nil {
			return nil, err
		}
		rows, err := v.ReuseList(ctx, db.ReuseFilter{
			MinTargets: in.MinTargets, SecretKind: in.SecretKind, Before: db.Place{Time: micros(numbers[0]), ID: id},
			BeforeTargets: int(numbers[1]), Limit: limit,
		})
		return entries(rows, err, func(r db.Reuse) string { return cursorOf(r.ID, r.LastSeen.UnixMicro(), int64(r.Targets)) },
			func(r db.Reuse) ReuseBody { return toReuseBody(r, who) })
	}, nil
}

func (s *server) getReuse(ctx context.Context, in *UUIDPath) (*output[ReuseBody], error) {
	return one(ctx, s, func(v *db.View) (ReuseBody, error) {
		r, err := v.Reuse(ctx, in.uuid())
		return toReuseBody(r, principalOf(ctx)), err
	})
}

func toReuseBody(r db.Reuse, who principal) ReuseBody {
	secret := shown(r.Secret, who)
	return ReuseBody{
		ID: r.ID.String(), Principal: optional(r.Principal), SecretKind: secret.Kind, SecretPrintable: secret.Printable,
		SecretB64: secret.Base64, SecretSHA256: secret.SHA256, TargetCount: r.Targets, AttemptCount: r.Attempts, Confidence: 1,
		AttackerIDs: texts[uuid.UUID](r.AttackerIDs), AttackerIPs: texts(r.AttackerIPs), Deckies: r.Deckies, Services: r.Services,
		FirstSeen: r.FirstSeen.UTC(), LastSeen: r.LastSeen.UTC(),
	}
}

func texts[T interface{ String() string }](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return out
}
