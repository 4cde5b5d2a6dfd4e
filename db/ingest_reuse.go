package db

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sort"
	"strings"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/ingest"
)

// Bounds of a finding: botnets share their lists of passwords.
const (
	maxReuseAttackers = 1000
	maxReuseTargets   = 1000
)

type secretKey struct{ sha256, kind, principal string }

// secretTried is what a batch says of one secret.
type secretTried struct {
	tally
	id     uuid.UUID
	sample *ingest.Credential
	// fresh are the credentials not met before, in order of first try: only they can make a finding grow.
	fresh []*attempts
}

// reuseLists are by whom and where a secret was tried, in order of first sight.
type reuseLists struct {
	attackers, addrs, deckies, services, targets []string
}

// add reports whether a list became longer.
func (l *reuseLists) add(a *attempts) bool {
	grown := false
	if id := a.attacker.String(); len(l.attackers) < maxReuseAttackers && !slices.Contains(l.attackers, id) {
		l.attackers, l.addrs, grown = append(l.attackers, id), append(l.addrs, a.Attacker.String()), true
	}
	target := a.DeckyKey + "/" + a.Service
	if len(l.targets) >= maxReuseTargets || slices.Contains(l.targets, target) {
		return grown
	}
	l.targets = append(l.targets, target)
	if !slices.Contains(l.deckies, a.DeckyKey) {
		l.deckies = append(l.deckies, a.DeckyKey)
	}
	if !slices.Contains(l.services, a.Service) {
		l.services = append(l.services, a.Service)
	}
	return true
}

// storeReuse keeps a row of every secret, and announces those that are reused and have grown.
func (in *ingestion) storeReuse(ctx context.Context, secrets map[secretKey]*secretTried) error {
	keys := sortedKeys(secrets, func(a, b secretKey) int {
		return cmp.Or(strings.Compare(a.sha256, b.sha256), strings.Compare(a.kind, b.kind), strings.Compare(a.principal, b.principal))
	})
	known, err := in.insertReuse(ctx, keys, secrets)
	if err != nil || len(known) == 0 {
		return err
	}
	if err := in.lockReuse(ctx, known, secrets); err != nil {
		return err
	}
	return in.growReuse(ctx, known, secrets)
}

// insertReuse makes the rows of secrets that nobody tried before, and returns the keys of the others.
func (in *ingestion) insertReuse(ctx context.Context, keys []secretKey, secrets map[secretKey]*secretTried) (known []secretKey, err error) {
	var p dbsqlc.InsertReuseParams
	lists := map[secretKey]*reuseLists{}
	for _, k := range keys {
		s := secrets[k]
		if len(s.fresh) == 0 {
			continue
		}
		l := &reuseLists{}
		for _, a := range s.fresh {
			l.add(a)
		}
		lists[k] = l
		p.Ids, p.SecretSha256s, p.SecretKinds = append(p.Ids, s.id), append(p.SecretSha256s, k.sha256), append(p.SecretKinds, k.kind)
		p.Principals, p.SecretPrintables = append(p.Principals, k.principal), append(p.SecretPrintables, storable(s.sample.SecretPrintable))
		p.SecretB64s, p.Attempts = append(p.SecretB64s, s.sample.SecretB64), append(p.Attempts, s.n)
		p.AttackerIDs, p.AttackerIPs = append(p.AttackerIDs, in.array(l.attackers)), append(p.AttackerIPs, in.array(l.addrs))
		p.Deckies, p.Services = append(p.Deckies, in.array(l.deckies)), append(p.Services, in.array(l.services))
		p.Targets = append(p.Targets, in.array(l.targets))
		p.FirstSeen, p.LastSeen = append(p.FirstSeen, s.first), append(p.LastSeen, s.last)
	}
	inserted := map[uuid.UUID]bool{}
	if len(p.Ids) > 0 {
		ids, err := in.tx.q.InsertReuse(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			inserted[id] = true
		}
	}
	for _, k := range keys {
		s := secrets[k]
		if !inserted[s.id] {
			known = append(known, k)
		} else if err := in.reused(s.id, k, lists[k]); err != nil {
			return nil, err
		}
	}
	return known, nil
}

// lockReuse gives the secrets the ids of their rows, and counts the tries.
func (in *ingestion) lockReuse(ctx context.Context, known []secretKey, secrets map[secretKey]*secretTried) error {
	var lock dbsqlc.LockReuseParams
	for _, k := range known {
		lock.SecretSha256s, lock.SecretKinds = append(lock.SecretSha256s, k.sha256), append(lock.SecretKinds, k.kind)
		lock.Principals = append(lock.Principals, k.principal)
	}
	rows, err := in.tx.q.LockReuse(ctx, lock)
	if err != nil {
		return err
	}
	var p dbsqlc.AddReuseAttemptsParams
	for _, r := range rows {
		s := secrets[secretKey{r.SecretSha256, r.SecretKind, r.Principal}]
		s.id = r.ID
		p.Ids, p.Attempts = append(p.Ids, s.id), append(p.Attempts, s.n)
		p.FirstSeen, p.LastSeen = append(p.FirstSeen, s.first), append(p.LastSeen, s.last)
	}
	return in.tx.q.AddReuseAttempts(ctx, p)
}

// growReuse adds who and where to the lists of locked rows.
func (in *ingestion) growReuse(ctx context.Context, known []secretKey, secrets map[secretKey]*secretTried) error {
	byID, ids := map[uuid.UUID]secretKey{}, []uuid.UUID(nil)
	for _, k := range known {
		if s := secrets[k]; len(s.fresh) > 0 {
			byID[s.id], ids = k, append(ids, s.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := in.tx.q.ListReuseLists(ctx, ids)
	if err != nil {
		return err
	}
	var p dbsqlc.SetReuseListsParams
	for _, r := range rows {
		l := reuseLists{deckies: r.Deckies, services: r.Services, targets: r.Targets}
		for i := range r.AttackerIDs {
			l.attackers, l.addrs = append(l.attackers, r.AttackerIDs[i].String()), append(l.addrs, r.AttackerIPs[i].String())
		}
		grown := false
		for _, a := range secrets[byID[r.ID]].fresh {
			grown = l.add(a) || grown
		}
		if !grown {
			continue
		}
		p.Ids, p.AttackerIDs, p.AttackerIPs = append(p.Ids, r.ID), append(p.AttackerIDs, in.array(l.attackers)), append(p.AttackerIPs, in.array(l.addrs))
		p.Deckies, p.Services = append(p.Deckies, in.array(l.deckies)), append(p.Services, in.array(l.services))
		p.Targets = append(p.Targets, in.array(l.targets))
		if err := in.reused(r.ID, byID[r.ID], &l); err != nil {
			return err
		}
	}
	if len(p.Ids) == 0 {
		return nil
	}
	return in.tx.q.SetReuseLists(ctx, p)
}

// reuseDetected is `credential.reuse.detected`. It never holds the secret nor for whom it was tried.
type reuseDetected struct {
	ID            uuid.UUID `json:"id"`
	SecretKind    string    `json:"secret_kind"`
	TargetCount   int       `json:"target_count"`
	AttackerUUIDs []string  `json:"attacker_uuids"`
	AttackerIPs   []string  `json:"attacker_ips"`
	Deckies       []string  `json:"deckies"`
	Services      []string  `json:"services"`
	Truncated     bool      `json:"truncated,omitempty"`
}

// reused announces a finding, which a secret is from its second target on.
func (in *ingestion) reused(id uuid.UUID, k secretKey, l *reuseLists) error {
	if len(l.targets) < 2 {
		return nil
	}
	return in.announce("credential.reuse.detected", "reuse.detected", id, fitting(reuseDetected{
		ID: id, SecretKind: k.kind, TargetCount: len(l.targets), AttackerUUIDs: l.attackers, AttackerIPs: l.addrs,
		Deckies: l.deckies, Services: l.services,
	}))
}

// fitting cuts all lists to the same length, the greatest with which the payload fits into a message.
func fitting(p reuseDetected) reuseDetected {
	cut := func(n int) reuseDetected {
		c := p
		for _, list := range []*[]string{&c.AttackerUUIDs, &c.AttackerIPs, &c.Deckies, &c.Services} {
			if len(*list) > n {
				*list, c.Truncated = (*list)[:n], true
			}
		}
		return c
	}
	fits := func(n int) bool {
		body, err := json.Marshal(cut(n))
		return err == nil && len(body) <= maxPayloadBytes
	}
	longest := max(len(p.AttackerUUIDs), len(p.Deckies), len(p.Services))
	if fits(longest) {
		return p
	}
	return cut(sort.Search(longest, func(n int) bool { return !fits(n + 1) }))
}
