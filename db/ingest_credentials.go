package db

import (
	"bytes"
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/ingest"
)

// attempts are the tries of one credential in a batch.
type attempts struct {
	*ingest.Credential
	tally
	attacker uuid.UUID
	// outcome is the last one told.
	outcome string
}

// tally counts tries.
type tally struct {
	n           int64
	first, last time.Time
}

func (t *tally) add(more tally) {
	if t.n == 0 || more.first.Before(t.first) {
		t.first = more.first
	}
	if more.last.After(t.last) {
		t.last = more.last
	}
	t.n += more.n
}

// storeCredentials counts the tries, and what they say of the reuse of secrets.
func (in *ingestion) storeCredentials(ctx context.Context) error {
	tried, order := in.tried()
	if len(order) == 0 {
		return nil
	}
	fresh, err := in.upsertCredentials(ctx, tried)
	if err != nil {
		return err
	}
	secrets := map[secretKey]*secretTried{}
	for _, key := range order {
		a := tried[key]
		k := secretKey{a.SecretSHA256, storable(a.SecretKind), storable(a.Principal)}
		s := secrets[k]
		if s == nil {
			s = &secretTried{id: newID(), sample: a.Credential}
			secrets[k] = s
		}
		s.add(a.tally)
		if fresh[key] {
			in.attackers[a.Attacker].credentials++
			s.fresh = append(s.fresh, a)
		}
	}
	return in.storeReuse(ctx, secrets)
}

// tried returns the credentials of the batch and their keys in the order of their first try.
func (in *ingestion) tried() (map[ingest.Hash]*attempts, []ingest.Hash) {
	tried, order := map[ingest.Hash]*attempts{}, []ingest.Hash(nil)
	for _, x := range in.kept {
		attacker, known := in.attackers.id(x.Event.Attacker)
		if !known {
			continue
		}
		for i := range x.Credentials {
			c := &x.Credentials[i]
			a := tried[c.Key]
			if a == nil {
				a = &attempts{Credential: c, attacker: attacker}
				tried[c.Key], order = a, append(order, c.Key)
			}
			a.add(tally{1, x.Event.Time, x.Event.Time})
			if c.Outcome != "" {
				a.outcome = storable(c.Outcome)
			}
		}
	}
	return tried, order
}

// upsertCredentials returns the keys of what was not there before.
func (in *ingestion) upsertCredentials(ctx context.Context, tried map[ingest.Hash]*attempts) (map[ingest.Hash]bool, error) {
	var p dbsqlc.UpsertCredentialsParams
	for _, key := range sortedKeys(tried, func(a, b ingest.Hash) int { return bytes.Compare(a[:], b[:]) }) {
		a := tried[key]
		p.Ids, p.Keys = append(p.Ids, newID()), append(p.Keys, a.Key[:])
		p.DeckyKeys, p.DeckyNames = append(p.DeckyKeys, a.DeckyKey), append(p.DeckyNames, a.DeckyName)
		p.Services, p.AttackerIDs = append(p.Services, a.Service), append(p.AttackerIDs, a.attacker)
		p.AttackerIPs, p.Principals = append(p.AttackerIPs, a.Attacker), append(p.Principals, storable(a.Principal))
		p.SecretKinds, p.SecretSha256s = append(p.SecretKinds, storable(a.SecretKind)), append(p.SecretSha256s, a.SecretSHA256)
		p.SecretPrintables = append(p.SecretPrintables, storable(a.SecretPrintable))
		p.SecretB64s, p.Outcomes = append(p.SecretB64s, a.SecretB64), append(p.Outcomes, a.outcome)
		p.Attempts = append(p.Attempts, a.n)
		p.FirstSeen, p.LastSeen = append(p.FirstSeen, a.first), append(p.LastSeen, a.last)
	}
	rows, err := in.tx.q.UpsertCredentials(ctx, p)
	fresh := map[ingest.Hash]bool{}
	for _, r := range rows {
		if r.Inserted {
			fresh[ingest.Hash(r.Key)] = true
		}
	}
	return fresh, err
}
