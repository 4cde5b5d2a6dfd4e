package ingester

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/ingest"
	"github.com/decnet/decnet/internal/runtime"
)

// bufferBytes is what is read of one file before it is the turn of the next.
const bufferBytes = 64 << 10

// collector is one run from what is stored on. It belongs to one goroutine; the batch that is being stored belongs to another
// until its result was received.
type collector struct {
	in        *Ingester
	extractor *ingest.Extractor
	gate      *ingest.Gate
	buf       []byte

	streams map[db.DeckyOutput]*stream
	order   []*stream
	next    int // index of the stream whose turn it is
	// positions and sequences are those after everything that was put into a batch.
	positions map[db.IngestFile]int64
	sequences map[db.DeckyOutput]ingest.Sequence
	unseen    map[db.IngestFile]time.Time // cursors without a file, since when

	filling, spare *batch
	began          time.Time  // of the batch that is filled
	storing        *batch     // nil while none is
	result         chan error // of storing

	listed  time.Time
	missed  bool // the last listing failed
	noHoles bool // the file system gives nothing back
}

func newCollector(in *Ingester, extractor *ingest.Extractor) *collector {
	return &collector{
		in: in, extractor: extractor, gate: ingest.NewGate(in.Gate), buf: make([]byte, bufferBytes),
		streams: map[db.DeckyOutput]*stream{}, unseen: map[db.IngestFile]time.Time{},
		filling: newBatch(), spare: newBatch(), result: make(chan error, 1),
	}
}

// run returns when ctx ends or what is stored is not what this run takes it to be.
func (c *collector) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer c.end(ctx, cancel)
	if err := c.load(ctx); err != nil {
		return err
	}
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for ctx.Err() == nil {
		if time.Since(c.listed) >= listEvery {
			if err := c.list(ctx); err != nil {
				return err
			}
		}
		more := c.round(ctx)
		if err := c.handOver(ctx, more); err != nil {
			return err
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
		case err := <-c.result:
			if err := c.received(ctx, err); err != nil {
				return err
			}
		case <-poll.C:
			c.wake()
		}
	}
	return ctx.Err()
}

// end waits for the goroutine that stores; what was not stored is read again.
func (c *collector) end(ctx context.Context, cancel context.CancelFunc) {
	cancel()
	if c.storing != nil {
		err := <-c.result
		c.in.Log.DebugContext(ctx, "the last batch of a run has ended", "err", err)
	}
	for _, s := range c.streams {
		s.close()
	}
}

func (c *collector) load(ctx context.Context) error {
	return c.in.persist(ctx, func(ctx context.Context) (err error) {
		if c.positions, err = c.in.Store.IngestCursors(ctx, c.in.HostID); err != nil {
			return err
		}
		c.sequences, err = c.in.Store.IngestSequences(ctx)
		return err
	})
}

// list looks at what there is to read. While that cannot be told, reading goes on with what is known.
func (c *collector) list(ctx context.Context) error {
	defer func() { c.listed = time.Now() }()
	limited, cancel := context.WithTimeout(ctx, listLimit)
	outputs, err := c.in.Outputs.Outputs(limited)
	cancel()
	if err != nil {
		if !c.missed && ctx.Err() == nil {
			c.in.Log.WarnContext(ctx, "what decoys print could not be listed", "err", err)
		}
		c.missed = true
		return nil
	}
	c.missed = false
	of := map[db.DeckyOutput][]runtime.Output{}
	for _, out := range outputs {
		if len(out.Files) > 0 {
			k := db.DeckyOutput{DeckyID: out.DeckyID, Service: out.Service}
			of[k] = append(of[k], out)
		}
	}
	for k := range of {
		if c.streams[k] == nil {
			s := &stream{key: k}
			c.streams[k] = s
			c.order = append(c.order, s)
		}
	}
	for k, s := range c.streams {
		s.list(of[k])
		if len(s.files) == 0 {
			delete(c.streams, k)
		}
	}
	c.order = slices.DeleteFunc(c.order, func(s *stream) bool { return len(s.files) == 0 })
	if err := c.identifyDeckies(ctx, of); err != nil {
		return err
	}
	c.in.Metrics.lag(c.lag())
	return c.sweep(ctx)
}

// identifyDeckies learns what the database knows of new streams. A decky it does not know goes by what the runtime says.
func (c *collector) identifyDeckies(ctx context.Context, of map[db.DeckyOutput][]runtime.Output) error {
	unknown := map[uuid.UUID]bool{}
	for _, s := range c.streams {
		if !s.known {
			unknown[s.key.DeckyID] = true
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	var deckies map[uuid.UUID]db.IngestDecky
	err := c.in.persist(ctx, func(ctx context.Context) (err error) {
		deckies, err = c.in.Store.IngestDeckies(ctx, slices.Collect(maps.Keys(unknown)))
		return err
	})
	if err != nil {
		return err
	}
	for k, s := range c.streams {
		if s.known {
			continue
		}
		d, ok := deckies[k.DeckyID]
		if s.known = ok; !ok {
			d.Key = keyOf(k.DeckyID, of[k])
			d.Name = d.Key
		}
		s.source = &ingest.Source{DeckyKey: d.Key, DeckyName: d.Name, DeckyID: k.DeckyID, TopologyID: d.TopologyID, Service: k.Service}
	}
	return nil
}

func keyOf(id uuid.UUID, outputs []runtime.Output) string {
	for _, out := range outputs {
		if out.DeckyKey != "" {
			return out.DeckyKey
		}
	}
	return "orphan-" + id.String()
}

// lag returns how many bytes that are there were not read.
func (c *collector) lag() int64 {
	var sum int64
	for _, s := range c.streams {
		for _, f := range s.files {
			if !f.done {
				sum += max(0, f.seen.size-max(f.offset, f.head))
			}
		}
	}
	return sum
}

// wake has streams looked at again that had nothing to read.
func (c *collector) wake() {
	for _, s := range c.streams {
		s.idle = false
	}
}

// round gives every stream a turn until the batch is full, and reports whether there may be more to read now.
func (c *collector) round(ctx context.Context) (more bool) {
	for range len(c.order) {
		if c.filling.full() {
			return true
		}
		if c.next >= len(c.order) {
			c.next = 0
		}
		s := c.order[c.next]
		c.next++
		if s.idle {
			continue
		}
		if c.filling.empty() {
			c.began = time.Now()
		}
		if s.idle = !c.turn(ctx, s); !s.idle {
			more = true
		}
	}
	return more
}

// turn reads a little of one stream; false is that there is nothing now.
func (c *collector) turn(ctx context.Context, s *stream) bool {
	f := s.current()
	if f == nil {
		return false
	}
	n, err := c.step(s, f)
	switch {
	case err != nil:
		// Gone or replaced since it was listed, or the disk refuses: it is begun anew with the next look.
		c.in.Log.DebugContext(ctx, "output of a decoy could not be read", "decky_id", s.key.DeckyID, "service", s.key.Service, "err", err)
		f.close()
		return false
	case n > 0:
		return true
	case f.cut():
		c.in.Log.WarnContext(ctx, "output of a decoy was cut off, it is read from its beginning",
			"decky_id", s.key.DeckyID, "service", s.key.Service)
		f.begin()
		return true
	case f.over:
		f.finish()
		if n := s.next(f); n == nil || n.group != f.group {
			f.lines = nil
		}
		return true
	}
	return false
}

// step reads one buffer of a file; 0 is its end.
func (c *collector) step(s *stream, f *file) (int, error) {
	if f.f == nil {
		if err := f.open(); err != nil {
			return 0, err
		}
	}
	if f.key == "" {
		n, err := f.identify(c.buf)
		if err != nil || f.key == "" {
			return n, err
		}
	}
	if f.lines == nil {
		if err := c.resume(s, f); err != nil {
			return 0, err
		}
	}
	n, err := f.read(c.buf)
	if n > 0 {
		c.feed(s, f, c.buf[:n])
	}
	return n, err
}

// resume begins to read a file whose key is known where it was left. The first line of a file of several may be the rest of
// the last one of the file before.
func (c *collector) resume(s *stream, f *file) error {
	key := s.file(f)
	start, err := f.resume(c.positions[key])
	if err != nil || start > 0 {
		return err
	}
	i := slices.Index(s.files, f)
	if i < 1 {
		return nil
	}
	before := s.files[i-1]
	if before.lines == nil || before.group != f.group || len(f.out.Files) < 2 || !before.done {
		return nil
	}
	f.lines, f.tooLong, f.malformed = before.lines, before.tooLong, before.malformed
	before.lines = nil
	f.lines.Rotate()
	// What a line has in the file before is dealt with together with what it has in this one.
	if key := s.file(before); c.positions[key] != before.offset {
		f.before, f.beforeEnd = key, before.offset
	}
	return nil
}

// feed splits what was read of a file and adds its lines to the batch.
func (c *collector) feed(s *stream, f *file, p []byte) {
	b, key := c.filling, s.file(f)
	b.bytes += len(p)
	b.files[key] = f
	_ = f.lines.Feed(p, func(l ingest.Line) error {
		r := b.record()
		e := f.leftOut(entry{source: s.source, file: key, end: l.End, record: r})
		if err := ingest.ParseInto(r, l.Text); err != nil {
			b.used--
			e.record = nil
			e.malformed++
		}
		c.add(f, e)
		return nil
	})
	if end := f.lines.End(); end != c.positions[key] {
		c.add(f, f.leftOut(entry{source: s.source, file: key, end: end}))
	}
}

// leftOut adds what the splitter left out since it was last asked.
func (f *file) leftOut(e entry) entry {
	malformed := f.lines.Malformed()
	tooLong := f.lines.Dropped() - malformed
	e.tooLong, e.malformed = int64(tooLong-f.tooLong), int64(malformed-f.malformed)
	f.tooLong, f.malformed = tooLong, malformed
	return e
}

// add puts an entry into the batch, and before the first one of a rotated file the end of the file before.
func (c *collector) add(f *file, e entry) {
	if f.before.File != "" {
		c.put(entry{source: e.source, file: f.before, end: f.beforeEnd})
		f.before = db.IngestFile{}
	}
	c.put(e)
}

func (c *collector) put(e entry) {
	if _, ok := c.filling.from[e.file]; !ok {
		c.filling.from[e.file] = c.positions[e.file]
	}
	c.positions[e.file] = e.end
	c.filling.add(e)
}
