package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/decnet/decnet/internal/topology"
)

// topologyView is a topology without its graph.
type topologyView struct {
	ID              string     `json:"id"`
	Name            string     `json:"name"`
	Status          string     `json:"status"`
	StatusReason    string     `json:"status_reason"`
	Version         int64      `json:"version"`
	CreatedAt       *time.Time `json:"created_at"`
	StatusChangedAt *time.Time `json:"status_changed_at"`
}

type topologyList struct {
	Items []topologyView `json:"items"`
}

// topologyBody is a topology with its graph.
type topologyBody struct {
	Topology topologyView    `json:"topology"`
	LANs     []lanView       `json:"lans"`
	Deckies  []planDeckyView `json:"deckies"`
	Edges    []edgeView      `json:"edges"`
}

type lanView struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Subnet string `json:"subnet"`
	IsDMZ  bool   `json:"is_dmz"`
}

type planDeckyView struct {
	UUID        string   `json:"uuid"`
	Name        string   `json:"name"`
	Services    []string `json:"services"`
	State       string   `json:"state"`
	StateReason string   `json:"state_reason"`
	Config      struct {
		IPs        map[string]string `json:"ips_by_lan"`
		ForwardsL3 bool              `json:"forwards_l3"`
	} `json:"decky_config"`
}

type edgeView struct {
	ID       string `json:"id"`
	Decky    string `json:"decky_uuid"`
	LAN      string `json:"lan_id"`
	IsBridge bool   `json:"is_bridge"`
}

func (t topologyBody) lan(ref string) (lanView, bool) {
	i := slices.IndexFunc(t.LANs, func(l lanView) bool { return meant(ref, l.ID, l.Name) })
	if i < 0 {
		return lanView{}, false
	}
	return t.LANs[i], true
}

// edge returns the id of the membership of a decky in a LAN.
func (t topologyBody) edge(decky, lan string) (string, bool) {
	l, _ := t.lan(lan)
	for _, d := range t.Deckies {
		if !meant(decky, d.UUID, d.Name) {
			continue
		}
		for _, e := range t.Edges {
			if e.Decky == d.UUID && e.LAN == l.ID {
				return e.ID, true
			}
		}
	}
	return "", false
}

func (t topologyBody) lanNames() []string {
	names := make([]string, len(t.LANs))
	for i, l := range t.LANs {
		names[i] = l.Name
	}
	return names
}

func (t topologyBody) deckyNames() []string {
	names := make([]string, len(t.Deckies))
	for i, d := range t.Deckies {
		names[i] = d.Name
	}
	return names
}

func (s *session) topologyTable(r reply) error {
	var l topologyList
	if err := r.decode(&l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Items))
	for i, t := range l.Items {
		rows[i] = []string{t.Name, t.Status, strconv.FormatInt(t.Version, 10), t.ID, stamp(t.CreatedAt), t.StatusReason}
	}
	return writeTable(s.env.Stdout, []string{"name", "status", "version", "id", "created", "reason"}, rows)
}

func (s *session) topologyLine(r reply) error {
	var t topologyView
	if err := r.decode(&t); err != nil {
		return err
	}
	return writeLines(s.env.Stdout, fmt.Sprintf("topology %s is %s (%s)", cell(t.Name), cell(t.Status), cell(t.ID)))
}

// topologyTree prints the LANs with their deckies below them. A decky stands below its home with all that is known of it,
// and below every other LAN it is in with its address there.
func (s *session) topologyTree(r reply) error {
	var t topologyBody
	if err := r.decode(&t); err != nil {
		return err
	}
	if err := writePairs(s.env.Stdout, []pair{
		{"name", t.Topology.Name},
		{"id", t.Topology.ID},
		{"status", t.Topology.Status},
		{"reason", t.Topology.StatusReason},
		{"version", strconv.FormatInt(t.Topology.Version, 10)},
		{"changed", stamp(t.Topology.StatusChangedAt)},
	}); err != nil {
		return err
	}
	for _, l := range t.LANs {
		if err := writeLines(s.env.Stdout, "", l.title()); err != nil {
			return err
		}
		if err := s.members(t, l); err != nil {
			return err
		}
	}
	return s.homeless(t)
}

func (l lanView) title() string {
	kind := "LAN"
	if l.IsDMZ {
		kind = "DMZ"
	}
	return fmt.Sprintf("%s %s %s", kind, cell(l.Name), cell(l.Subnet))
}

func (s *session) members(t topologyBody, l lanView) error {
	var rows [][]string
	for _, d := range t.Deckies {
		if slices.ContainsFunc(t.Edges, func(e edgeView) bool { return e.Decky == d.UUID && e.LAN == l.ID }) {
			rows = append(rows, d.row(l.Name, t.home(d) == l.ID))
		}
	}
	if len(rows) == 0 {
		return writeLines(s.env.Stdout, "  no deckies")
	}
	return s.rows(rows)
}

// home returns the id of the LAN a decky is at home in: that of its first edge that is no bridge, else of its first.
func (t topologyBody) home(d planDeckyView) string {
	first := ""
	for _, e := range t.Edges {
		if e.Decky != d.UUID {
			continue
		}
		if !e.IsBridge {
			return e.LAN
		}
		first = cmp.Or(first, e.LAN)
	}
	return first
}

// row describes a decky below one of its LANs.
func (d planDeckyView) row(lan string, home bool) []string {
	if !home {
		return []string{d.Name, d.Config.IPs[lan], "", "also here"}
	}
	state := d.State
	if d.StateReason != "" {
		state += ": " + d.StateReason
	}
	services := joined(d.Services)
	if services == "" {
		services = "no services"
	}
	if d.Config.ForwardsL3 {
		state += ", routes"
	}
	return []string{d.Name, d.Config.IPs[lan], state, services}
}

func (s *session) rows(rows [][]string) error {
	widths := make([]int, 4)
	for _, r := range rows {
		for i := range r {
			r[i] = cell(r[i])
			widths[i] = max(widths[i], len([]rune(r[i])))
		}
	}
	for _, r := range rows {
		line := fmt.Sprintf("  %-*s  %-*s  %-*s  %s", widths[0], r[0], widths[1], r[1], widths[2], r[2], r[3])
		if err := writeLines(s.env.Stdout, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) homeless(t topologyBody) error {
	var rows [][]string
	for _, d := range t.Deckies {
		if !slices.ContainsFunc(t.Edges, func(e edgeView) bool { return e.Decky == d.UUID }) {
			rows = append(rows, d.row("", true))
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := writeLines(s.env.Stdout, "", "in no LAN"); err != nil {
		return err
	}
	return s.rows(rows)
}

type issuesView struct {
	Issues     []issueView `json:"issues"`
	Deployable bool        `json:"deployable"`
}

type issueView struct {
	Severity string         `json:"severity"`
	Code     string         `json:"code"`
	Message  string         `json:"message"`
	Target   map[string]any `json:"target"`
}

func (s *session) issueTable(r reply) error {
	var v issuesView
	if err := r.decode(&v); err != nil {
		return err
	}
	if len(v.Issues) == 0 {
		return writeLines(s.env.Stdout, "nothing is wrong with it")
	}
	rows := make([][]string, len(v.Issues))
	for i, x := range v.Issues {
		rows[i] = []string{x.Severity, x.Code, x.Message, configText(x.Target)}
	}
	return writeTable(s.env.Stdout, []string{"severity", "code", "message", "where"}, rows)
}

// issueLines prints issues below a tree, nothing when there are none.
func (s *session) issueLines(r reply) error {
	var v issuesView
	if err := r.decode(&v); err != nil || len(v.Issues) == 0 {
		return err
	}
	if err := writeLines(s.env.Stdout, "", "issues"); err != nil {
		return err
	}
	for _, x := range v.Issues {
		if err := writeLines(s.env.Stdout, fmt.Sprintf("  %s %s: %s", cell(x.Severity), cell(x.Code), cell(x.Message))); err != nil {
			return err
		}
	}
	return nil
}

// deployPlan prints the compose file of a dry run, or what is in its way.
func (s *session) deployPlan(r reply) error {
	var p struct {
		issuesView
		Compose string `json:"compose"`
	}
	if err := r.decode(&p); err != nil {
		return err
	}
	if !p.Deployable || len(p.Issues) > 0 {
		if err := s.issueTable(r); err != nil {
			return err
		}
	}
	if p.Compose == "" {
		verdict := "it can be deployed; this runtime needs no compose file"
		if !p.Deployable {
			verdict = "it cannot be deployed"
		}
		return writeLines(s.env.Stdout, verdict)
	}
	for line := range strings.Lines(p.Compose) {
		if err := writeLines(s.env.Stdout, Clean(strings.TrimRight(line, "\n"))); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) statusEventTable(r reply) error {
	var list []struct {
		From   string     `json:"from_status"`
		To     string     `json:"to_status"`
		At     *time.Time `json:"at"`
		Reason string     `json:"reason"`
	}
	if err := r.decode(&list); err != nil {
		return err
	}
	rows := make([][]string, len(list))
	for i, e := range list {
		rows[i] = []string{stamp(e.At), e.From, e.To, e.Reason}
	}
	return writeTable(s.env.Stdout, []string{"at", "from", "to", "reason"}, rows)
}

func (s *session) editTable(r reply) error {
	var list []struct {
		ID     string     `json:"id"`
		Op     string     `json:"op"`
		State  string     `json:"state"`
		Actor  string     `json:"actor"`
		At     *time.Time `json:"requested_at"`
		Reason string     `json:"reason"`
	}
	if err := r.decode(&list); err != nil {
		return err
	}
	rows := make([][]string, len(list))
	for i, e := range list {
		rows[i] = []string{e.ID, e.Op, e.State, e.Actor, stamp(e.At), e.Reason}
	}
	return writeTable(s.env.Stdout, []string{"id", "op", "state", "actor", "requested", "reason"}, rows)
}

func (s *session) subnetLine(r reply) error {
	var v struct {
		Subnet string `json:"subnet"`
	}
	if err := r.decode(&v); err != nil {
		return err
	}
	return writeLines(s.env.Stdout, cell(v.Subnet))
}

func (s *session) lanLine(r reply) error {
	var l lanView
	if err := r.decode(&l); err != nil {
		return err
	}
	return writeLines(s.env.Stdout, l.title())
}

func (s *session) planDeckyLine(r reply) error {
	var d planDeckyView
	if err := r.decode(&d); err != nil {
		return err
	}
	var at []string
	for lan, ip := range d.Config.IPs {
		at = append(at, ip+" in "+lan)
	}
	slices.Sort(at)
	services := "no services"
	if len(d.Services) > 0 {
		services = joined(d.Services)
	}
	where := ""
	if len(at) > 0 {
		where = " at " + joined(at)
	}
	return writeLines(s.env.Stdout, cell(d.Name)+" has "+cell(services)+cell(where))
}

func topologyStatuses() []string {
	var names []string
	for _, status := range topology.Statuses() {
		names = append(names, string(status))
	}
	return names
}

// completeTopologies offers names, and the ids of those whose name would need quoting.
func (a *app) completeTopologies() cobra.CompletionFunc {
	return a.complete(0, func([]string) string { return "/topologies?limit=500" }, func(r reply) []string {
		var l topologyList
		_ = r.decode(&l) // without it, offer none
		words := make([]string, len(l.Items))
		for i, t := range l.Items {
			words[i] = t.Name
			if len(plainWords([]string{t.Name})) == 0 {
				words[i] = t.ID
			}
		}
		return words
	})
}

// completeInTopology offers topologies, then parts of the one that was chosen.
func (a *app) completeInTopology(parts ...func(topologyBody) []string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 || len(args) > len(parts) {
			return a.completeTopologies()(c, args, word)
		}
		part := parts[len(args)-1]
		find := a.complete(len(args), func(args []string) string { return a.topologyOf(c, args[0]) }, func(r reply) []string {
			var t topologyBody
			_ = r.decode(&t) // without it, offer none
			return part(t)
		})
		return find(c, args, word)
	}
}

// topologyOf returns the path of a topology for completions, the list of all when it is not found.
func (a *app) topologyOf(c *cobra.Command, ref string) string {
	s, err := a.session(c)
	if err != nil {
		return "/topologies"
	}
	id, err := s.topologyID(c.Context(), ref)
	if err != nil {
		return "/topologies"
	}
	return topologyPath(id)
}

// completeEdit offers topologies, then the edits.
func (a *app) completeEdit() cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return topology.Ops(), cobra.ShellCompDirectiveNoFileComp
		}
		return a.completeTopologies()(c, args, word)
	}
}
