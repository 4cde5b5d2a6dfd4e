package ingest

import (
	"regexp"
	"strconv"
)

// storedPattern is bus sheet section 6; \z and not $, so that a trailing line feed does not pass.
var (
	storedPattern = regexp.MustCompile(`\A\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z_[a-f0-9]{12}_[A-Za-z0-9._-]{1,255}\z`)
	sha256Pattern = regexp.MustCompile(`\A[a-f0-9]{64}\z`)
)

// artifact is rules 17 and 18. A name that could not be opened later makes neither bounty nor artifact. What a foreign sensor
// has kept is known by its checksum.
func (e *extraction) artifact() {
	kind := ArtifactFile
	switch e.Event.Type {
	case TypeFileCaptured:
	case TypeMessageStored:
		kind = ArtifactMail
	default:
		return
	}
	stored, sum := e.fields.Get("stored_as"), e.fields.Get("sha256")
	if !sha256Pattern.MatchString(sum) {
		sum = ""
	}
	switch {
	case stored == "" && sum != "" && e.Event.Source.Imported():
	case stored == "":
		return
	case !storedPattern.MatchString(stored):
		e.problem("artifact", "stored_as is no name of ours")
		return
	}
	a := Artifact{
		Kind: kind, Attacker: e.Event.Attacker, Folder: e.Event.Service, StoredAs: stored, SHA256: sum, Size: -1,
		OrigPath: e.fields.Get("orig_path"), Session: e.Event.Session,
	}
	if n, err := strconv.ParseInt(e.fields.Get("size"), 10, 64); err == nil && n >= 0 {
		a.Size = n
	}
	p := payload{"kind": string(kind)}
	if kind == ArtifactFile {
		e.set(p, "stored_as", "sha256", "size", "orig_path", "attribution", "writer_comm")
	} else {
		a.Folder = serviceSMTP
		e.set(p, "stored_as", "sha256", "size", "subject", "from_hdr", "to_hdr", "mail_from", "rcpt_to", "attachment_count", "content_type")
		e.mail(stored)
	}
	e.Artifact = &a
	e.bounty(BountyArtifact, string(kind), p)
}

// Key is equal for two sightings of the same artifact: of ours by the name it is kept under, of a foreign sensor's by session
// and checksum.
func (a *Artifact) Key(src Source) Hash {
	if src.Imported() {
		return keyOf(src.DeckyKey, a.Session, a.SHA256)
	}
	return keyOf(src.DeckyKey, a.Folder, a.StoredAs)
}
