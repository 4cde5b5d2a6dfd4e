package db

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db/dbsqlc"
	"github.com/decnet/decnet/internal/fault"
)

// Bounty is a fact about an attacker, at its first sighting.
type Bounty struct {
	ID         uuid.UUID
	Type       string
	Kind       string
	DeckyKey   string
	DeckyName  string
	Service    string
	AttackerID uuid.UUID
	AttackerIP netip.Addr
	// Payload is a JSON object.
	Payload json.RawMessage
	Time    time.Time
}

// BountyFilter selects bounties.
type BountyFilter struct {
	Scope
	Type, Kind string
	Before     Place
	Limit      int
}

// Bounties lists bounties, the newest first.
func (v *View) Bounties(ctx context.Context, f BountyFilter) ([]Bounty, error) {
	rows, err := v.q.ListBounties(ctx, dbsqlc.ListBountiesParams{
		Type: optional(f.Type), Kind: optional(f.Kind), Attacker: optional(f.Attacker), Decky: optional(f.Decky),
		Service: optional(f.Service), Since: optionalTime(f.From), Until: optionalTime(f.To), Before: f.Before.time(),
		BeforeID: f.Before.ID, MaxRows: int32(f.Limit),
	})
	return convert(rows, err, func(r dbsqlc.ListBountiesRow) Bounty { return Bounty(r) })
}

// Secret is a captured secret. Printable and Base64 are cut, SHA256 (hex) is over all of it.
type Secret struct {
	Kind, Printable, Base64, SHA256 string
}

// Credential is a secret tried by one attacker on one service of one decky. Principal is "" for none.
type Credential struct {
	ID                           uuid.UUID
	DeckyKey, DeckyName, Service string
	AttackerID                   uuid.UUID
	AttackerIP                   netip.Addr
	Principal                    string
	Secret                       Secret
	Outcome                      string
	Attempts                     int64
	FirstSeen, LastSeen          time.Time
}

// CredentialFilter selects credentials; From and To bound when they were tried last.
type CredentialFilter struct {
	Scope
	Principal, SecretKind, Outcome, SecretSHA256 string
	Before                                       Place
	Limit                                        int
}

// Credentials lists credentials, those tried last first.
func (v *View) Credentials(ctx context.Context, f CredentialFilter) ([]Credential, error) {
	rows, err := v.q.ListCredentials(ctx, dbsqlc.ListCredentialsParams{
		Attacker: optional(f.Attacker), Decky: optional(f.Decky), Service: optional(f.Service), Principal: optional(f.Principal),
		SecretKind: optional(f.SecretKind), Outcome: optional(f.Outcome), SecretSha256: optional(f.SecretSHA256),
		Since: optionalTime(f.From), Until: optionalTime(f.To), Before: f.Before.time(), BeforeID: f.Before.ID, MaxRows: int32(f.Limit),
	})
	return convert(rows, err, func(r dbsqlc.Credential) Credential {
		return Credential{
			ID: r.ID, DeckyKey: r.DeckyKey, DeckyName: r.DeckyName, Service: r.Service, AttackerID: r.AttackerID, AttackerIP: r.AttackerIP,
			Principal: r.Principal, Secret: Secret{r.SecretKind, r.SecretPrintable, r.SecretB64, r.SecretSha256},
			Outcome: r.Outcome, Attempts: r.AttemptCount, FirstSeen: r.FirstSeen, LastSeen: r.LastSeen,
		}
	})
}

// Reuse is one secret tried at several targets. Lists are in order of first sight and bounded.
type Reuse struct {
	ID                  uuid.UUID
	Principal           string
	Secret              Secret
	Targets             int
	Attempts            int64
	AttackerIDs         []uuid.UUID
	AttackerIPs         []netip.Addr
	Deckies, Services   []string
	FirstSeen, LastSeen time.Time
}

// ReuseFilter selects findings of reuse. MinTargets is 2 at least.
type ReuseFilter struct {
	MinTargets int
	SecretKind string
	// Before is the finding behind which the page begins, BeforeTargets the number of its targets.
	BeforeTargets int
	Before        Place
	Limit         int
}

// ReuseList lists findings of reuse, those with most targets first.
func (v *View) ReuseList(ctx context.Context, f ReuseFilter) ([]Reuse, error) {
	p := dbsqlc.ListCredentialReuseParams{
		MinTargets: int32(f.MinTargets), SecretKind: optional(f.SecretKind), Before: f.Before.Time, BeforeID: f.Before.ID,
		MaxRows: int32(f.Limit),
	}
	if f.Before.ID != uuid.Nil {
		p.BeforeCount = ptr(int32(f.BeforeTargets))
	}
	rows, err := v.q.ListCredentialReuse(ctx, p)
	return convert(rows, err, toReuse)
}

// Reuse returns one finding, or a NotFound fault (credential_reuse_not_found).
func (v *View) Reuse(ctx context.Context, id uuid.UUID) (Reuse, error) {
	row, err := v.q.GetCredentialReuse(ctx, id)
	if err != nil {
		return Reuse{}, notFound(err, fault.New(fault.NotFound, "credential_reuse_not_found", "there is no such finding"))
	}
	return toReuse(row), nil
}

func toReuse(r dbsqlc.CredentialReuse) Reuse {
	return Reuse{
		ID: r.ID, Principal: r.Principal, Secret: Secret{r.SecretKind, r.SecretPrintable, r.SecretB64, r.SecretSha256},
		Targets: int(deref(r.TargetCount)), Attempts: r.AttemptCount, AttackerIDs: r.AttackerIDs, AttackerIPs: r.AttackerIPs,
		Deckies: r.Deckies, Services: r.Services, FirstSeen: r.FirstSeen, LastSeen: r.LastSeen,
	}
}

// Artifact is a file or a mail that a decoy has kept. StoredAs is "" when the content is with a foreign sensor.
type Artifact struct {
	ID                           uuid.UUID
	Kind                         string
	DeckyKey, DeckyName, Service string
	Folder, StoredAs, SHA256     string
	Size                         *int64
	OrigPath, Session            string
	AttackerID                   uuid.UUID
	AttackerIP                   netip.Addr
	Time                         time.Time
	// Removed says that retention removed the content.
	Removed bool
}

// ArtifactFilter selects artifacts.
type ArtifactFilter struct {
	Scope
	Kind, SHA256 string
	Before       Place
	Limit        int
}

// Artifacts lists artifacts, the newest first.
func (v *View) Artifacts(ctx context.Context, f ArtifactFilter) ([]Artifact, error) {
	rows, err := v.q.ListArtifacts(ctx, dbsqlc.ListArtifactsParams{
		Kind: optional(f.Kind), Sha256: optional(f.SHA256), Attacker: optional(f.Attacker), Decky: optional(f.Decky),
		Service: optional(f.Service), Since: optionalTime(f.From), Until: optionalTime(f.To), Before: f.Before.time(),
		BeforeID: f.Before.ID, MaxRows: int32(f.Limit),
	})
	return convert(rows, err, toArtifact)
}

// Artifact returns one artifact, or a NotFound fault (artifact_not_found).
func (v *View) Artifact(ctx context.Context, id uuid.UUID) (Artifact, error) {
	row, err := v.q.GetArtifact(ctx, id)
	if err != nil {
		return Artifact{}, notFound(err, fault.New(fault.NotFound, "artifact_not_found", "there is no such artifact"))
	}
	return toArtifact(row), nil
}

func toArtifact(r dbsqlc.Artifact) Artifact {
	return Artifact{
		ID: r.ID, Kind: r.Kind, DeckyKey: r.DeckyKey, DeckyName: r.DeckyName, Service: r.Service, Folder: r.Folder,
		StoredAs: deref(r.StoredAs), SHA256: r.Sha256, Size: r.Size, OrigPath: r.OrigPath, Session: r.Session,
		AttackerID: r.AttackerID, AttackerIP: r.AttackerIP, Time: r.Time, Removed: r.RemovedAt != nil,
	}
}
