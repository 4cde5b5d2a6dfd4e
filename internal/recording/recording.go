// Package recording reads what decoys have recorded of terminals, and tells it as asciicast v2
// (https://docs.asciinema.org/manual/asciicast/v2/).
//
// A shard, `<root>/<decky key>/<service>/transcripts/sessions-YYYY-MM-DD.jsonl`, holds the sessions that began on a day (UTC),
// mixed line by line. It was written in a place that intruders can reach: nothing in it is trusted, and a line that is not
// understood is passed over.
package recording

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/decnet/decnet/internal/spool"
)

const (
	folder = "transcripts"
	// maxDays bounds the shards looked into for one session.
	maxDays = 8
	// maxAhead is how many events are looked ahead for the rest of a character.
	maxAhead = 32
	// checkLines is after how many lines it is looked whether anybody still wants them.
	checkLines = 1000
)

// ErrNotFound says that there is no recording of a session.
var ErrNotFound = errors.New("there is no recording")

// Place is where a session was and when, which tells the shards that may hold it.
type Place struct {
	DeckyKey string
	// Service is ssh or telnet; no other records.
	Service string
	SID     string
	// Started and Ended bound the session.
	Started, Ended time.Time
}

// Reader reads one session. It holds a few events at a time, however long the session was.
type Reader struct {
	ctx    context.Context //nolint:containedctx // ends reading a shard of others' lines
	file   *os.File
	lines  *bufio.Reader
	sid    string
	header Header
	queue  []Event
	last   float64
	done   bool
}

// Open finds the recording of a session and reads its header. It returns ErrNotFound when there is none.
func Open(ctx context.Context, root string, p Place) (*Reader, error) {
	if !validSID(p.SID) || (p.Service != "ssh" && p.Service != "telnet") {
		return nil, ErrNotFound
	}
	for _, day := range p.days() {
		r, err := openShard(ctx, root, p, "sessions-"+day+".jsonl")
		if !errors.Is(err, ErrNotFound) {
			return r, err
		}
	}
	return nil, ErrNotFound
}

// days lists the days the session may have begun on, the likeliest first. A day before is possible too: the session may have
// been noticed later than it began.
func (p Place) days() []string {
	var days []string
	begin := p.Started.UTC()
	for i := range maxDays {
		day := begin.AddDate(0, 0, i)
		if i > 0 && day.Truncate(24*time.Hour).After(p.Ended) {
			break
		}
		days = append(days, day.Format(time.DateOnly))
	}
	return append(days, begin.AddDate(0, 0, -1).Format(time.DateOnly))
}

func openShard(ctx context.Context, root string, p Place, name string) (*Reader, error) {
	f, err := spool.Open(root, p.DeckyKey, p.Service, folder, name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNotFound
		}
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	// What is written from now on is not waited for.
	r := &Reader{ctx: ctx, file: f, lines: bufio.NewReaderSize(io.LimitReader(f, info.Size()), maxLine), sid: p.SID}
	r.header = Header{Width: 80, Height: 24, Timestamp: max(p.Started.Unix(), 0)}
	err = r.begin()
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// begin reads up to the first line of the session: its header, or an event when that was lost.
func (r *Reader) begin() error {
	k, h, e, err := r.line()
	switch {
	case err != nil:
		if errors.Is(err, io.EOF) {
			return ErrNotFound
		}
		return err
	case k == header:
		r.header = h
	default:
		r.add(k, e)
	}
	return nil
}

// Close closes the shard.
func (r *Reader) Close() { _ = r.file.Close() }

// Header describes the session's terminal.
func (r *Reader) Header() Header { return r.header }

// Next returns the next event, or io.EOF. Times do not go back. A character that was torn between two reads of the terminal
// is whole again; bytes that belong to none are characters of the same value.
func (r *Reader) Next() (Event, error) {
	for {
		if err := r.fill(1); err != nil {
			return Event{}, err
		}
		if err := r.mend(); err != nil {
			return Event{}, err
		}
		e := r.queue[0]
		r.queue = r.queue[1:]
		if e.Data != "" {
			return e, nil
		}
	}
}

// fill reads until n events are held, or returns io.EOF.
func (r *Reader) fill(n int) error {
	for len(r.queue) < n {
		if r.done {
			return io.EOF
		}
		k, _, e, err := r.line()
		if err != nil {
			return err
		}
		r.add(k, e)
	}
	return nil
}

func (r *Reader) add(k kind, e Event) {
	if k == cut {
		e = Event{T: r.last, Channel: ChannelMarker, Data: Truncated}
		r.done = true
	}
	if k != cut && k != event {
		return // a second header
	}
	e.T = max(e.T, r.last)
	r.last = e.T
	r.queue = append(r.queue, e)
}

// mend completes the character at the end of the first event with what the next events of its channel begin with.
func (r *Reader) mend() error {
	first := r.queue[0]
	if first.Channel != ChannelInput && first.Channel != ChannelOutput {
		return nil
	}
	before, part, missing := torn(first.Data)
	rests := map[int]string{}
	for i := 1; missing > 0 && i <= maxAhead; i++ {
		if err := r.fill(i + 1); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if r.queue[i].Channel != first.Channel {
			continue
		}
		more, rest := continues(r.queue[i].Data, missing)
		part, missing, rests[i] = append(part, more...), missing-len(more), rest
		if missing > 0 && rest != "" {
			return nil
		}
	}
	if len(rests) == 0 || missing > 0 || !isCharacter(part) {
		return nil
	}
	r.queue[0].Data = before + string(part)
	for i, rest := range rests {
		r.queue[i].Data = rest
	}
	return nil
}

// line returns the next line of the session.
func (r *Reader) line() (kind, Header, Event, error) {
	for n := 0; ; n++ {
		if n%checkLines == 0 && r.ctx.Err() != nil {
			return foreign, Header{}, Event{}, r.ctx.Err()
		}
		line, err := r.lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = r.skip()
			line = nil
		}
		if k, h, e := parseLine(line, r.sid); k != foreign {
			return k, h, e, nil
		}
		if err != nil {
			return foreign, Header{}, Event{}, err
		}
	}
}

// skip reads to the end of a line that is too long.
func (r *Reader) skip() error {
	for {
		_, err := r.lines.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}
