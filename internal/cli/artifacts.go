package cli

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) artifactsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "artifacts",
		Aliases: []string{"artifact"},
		Short:   "List, show and fetch the files and mails that attackers left",
	}
	a.clientFlags(c)
	c.AddCommand(
		a.listCommand(listing{
			command: &cobra.Command{Use: "list", Short: "List artifacts, the newest first"},
			path:    "/artifacts",
			times:   "when it was captured",
			filters: []filter{
				{name: "kind", usage: "only file or mail", choices: []string{"file", "mail"}},
				{name: "sha256", usage: "only with this hash"},
				attackerFilter, deckyFilter, serviceFilter,
			},
			table: func(s *session) func(reply) error { return s.artifactTable },
		}, nil),
		a.showCommand("show ID", "Show what is known of an artifact", "/artifacts", (*session).artifactDetails),
		a.artifactsGetCommand(),
	)
	return c
}

// artifactView is an artifact as the API shows it.
type artifactView struct {
	ID         string     `json:"id"`
	Kind       string     `json:"kind"`
	Time       *time.Time `json:"time"`
	StoredAs   string     `json:"stored_as"`
	SHA256     string     `json:"sha256"`
	Size       *int64     `json:"size"`
	OrigPath   string     `json:"orig_path"`
	Session    string     `json:"session"`
	AttackerID string     `json:"attacker_id"`
	AttackerIP string     `json:"attacker_ip"`
	Available  bool       `json:"available"`
	origin
}

func (v artifactView) content() string {
	switch {
	case v.Available:
		return "available"
	case v.StoredAs == "":
		return "at its sensor"
	}
	return "gone"
}

func (s *session) artifactTable(r reply) error {
	var l struct {
		Items []artifactView `json:"items"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Items))
	for i, v := range l.Items {
		rows[i] = []string{
			v.ID, precise(v.Time), v.Kind, v.place(), v.Service, v.AttackerIP, number64(v.Size), v.content(), clip(Clean(v.SHA256), 16), v.OrigPath,
		}
	}
	return s.writeFitted([]string{"id", "time", "kind", "decky", "service", "attacker", "bytes", "content", "sha256", "path"}, rows)
}

func (s *session) artifactDetails(r reply) error {
	var v artifactView
	if err := r.decode(&v); err != nil {
		return err
	}
	return writeWhole(s.env.Stdout, slices.Concat(
		[]pair{{"id", v.ID}, {"kind", v.Kind}, {"time", exact(v.Time)}}, v.origin.pairs(),
		[]pair{
			{"attacker", v.AttackerIP},
			{"attacker id", v.AttackerID},
			{"session", v.Session},
			{"path", v.OrigPath},
			{"stored as", v.StoredAs},
			{"bytes", number64(v.Size)},
			{"sha256", v.SHA256},
			{"content", v.content()},
		}))
}

func (a *app) artifactsGetCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "get ID",
		Short: "Fetch the content of an artifact",
		Long: "Fetch the content of an artifact. It is whatever an attacker brought: malware, as a rule. It never goes to a terminal; a file\n" +
			"that is made is readable for its owner only and not executable. The hash is compared with what the decoy reported.",
		Example:           "  decnet artifacts get 0190b6c1-0000-7000-8000-000000000001 --output sample.bin",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	a.fileFlag(c, "the file to write (default: standard output)")
	c.Flags().BoolVar(&force, "force", false, "replace the file if it is there")
	c.RunE = func(c *cobra.Command, args []string) error {
		file := cmp.Or(a.takeFile(), string(a.flags.output)) // a file may have any name
		s, err := a.session(c)
		if err != nil {
			return err
		}
		return s.getArtifact(args[0], file, force)
	}
	return c
}

func (s *session) getArtifact(id, file string, force bool) error {
	if (file == "" || file == "-") && s.env.isTerminal(s.env.Stdout) {
		return usagef("the content of an artifact does not go to a terminal; give --output FILE")
	}
	ctx, cancel := s.openEnded(s.cmd)
	defer cancel()
	path := "/artifacts/" + url.PathEscape(id)
	r, err := s.client.get(ctx, path)
	if err != nil {
		return s.refused(late(ctx, err))
	}
	var v artifactView
	if err := r.decode(&v); err != nil {
		return err
	}
	sum := sha256.New()
	k := call{method: http.MethodGet, path: path + "/content", accept: "application/octet-stream"}
	check := func() error {
		if got := hex.EncodeToString(sum.Sum(nil)); v.SHA256 != "" && !strings.EqualFold(got, v.SHA256) {
			return fmt.Errorf("the content has the hash %s, not %s as was reported", got, cell(v.SHA256))
		}
		return nil
	}
	if _, err := s.save(ctx, k, saving{name: file, force: force, check: check}, sum); err != nil {
		return s.refused(late(ctx, err))
	}
	return nil
}
