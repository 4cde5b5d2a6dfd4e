package retention

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// Stock is what there is of one kind, and the oldest files of it: not all of them, a decoy can make very many.
type Stock struct {
	Count  int64
	Bytes  int64
	Oldest time.Time // zero when there is none

	keep int
	old  byAge
}

// NewStock returns an empty stock that remembers at most keep files.
func NewStock(keep int) *Stock { return &Stock{keep: keep} }

// Add counts a file.
func (s *Stock) Add(f File) {
	s.Count++
	s.Bytes += f.Bytes
	if s.Oldest.IsZero() || f.At.Before(s.Oldest) {
		s.Oldest = f.At
	}
	switch {
	case len(s.old) < s.keep:
		heap.Push(&s.old, f)
	case s.keep > 0 && older(f, s.old[0]) < 0:
		s.old[0] = f
		heap.Fix(&s.old, 0)
	}
}

// Files returns the oldest files that are remembered, oldest first. all reports that there are no others.
func (s *Stock) Files() (files []File, all bool) {
	files = slices.Clone([]File(s.old))
	slices.SortFunc(files, older)
	return files, int64(len(files)) == s.Count
}

// older orders by age, and what is as old by its place, so that every pass sees the same order.
func older(a, b File) int {
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name))
}

// byAge is a heap with the youngest file on top.
type byAge []File

func (h byAge) Len() int           { return len(h) }
func (h byAge) Less(i, j int) bool { return older(h[i], h[j]) > 0 }
func (h byAge) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push adds a file, as container/heap wants it.
func (h *byAge) Push(x any) { *h = append(*h, x.(File)) }

// Pop removes the last file, as container/heap wants it.
func (h *byAge) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
