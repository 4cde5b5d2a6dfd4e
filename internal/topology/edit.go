package topology

// edit is a graph while it is changed.
type edit struct {
	site    Site
	before  Graph
	g       Graph
	effects Effects
}

// Apply returns the graph after op, hydrated, and what that means for what runs. A pending topology is edited freely, an
// active or degraded one under the rules of live edits, any other not at all (Conflict, topology_status_conflict). An op
// that is refused changes nothing, and neither does one that would make the graph invalid in a way it is not yet
// (Unprocessable, topology_invalid).
func Apply(g Graph, site Site, op Op) (Graph, Effects, error) {
	return g, Effects{}, nil
}
