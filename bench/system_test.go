package bench_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/decnet/decnet/e2e/harness"
	"github.com/decnet/decnet/internal/operation"
)

const (
	addRounds = 15
	upRounds  = 3
	deckies   = 20
	limit     = 5 * time.Minute
	// wantSpeedup is what creating deckies at once must gain, or wantShare of what the processors allow where that is less.
	wantSpeedup = 4.0
	wantShare   = 0.6
)

// system is one `decnet up` and its API.
type system struct {
	*harness.Up
	b *testing.B
}

func startSystem(b *testing.B) *system {
	b.Helper()
	s := &system{Up: harness.StartUp(b), b: b}
	require.NoError(b, s.WaitQuiescent(harness.Within(b, limit)))
	return s
}

// do sends a request, waits for the end of its operation and returns the operation's id.
func (s *system) do(method, path string, body any) (id string, err error) {
	answer, err := s.Do(harness.Within(s.b, limit), method, path, body, "Prefer", "wait=60")
	if err != nil {
		return "", err
	}
	if answer.Status != http.StatusCreated && answer.Status != http.StatusOK {
		return "", fmt.Errorf("%s %s: %d %s", method, path, answer.Status, answer.Body)
	}
	return answer.Header.Get("Decnet-Operation"), nil
}

func (s *system) create(name string, services []string) error {
	_, err := s.do(http.MethodPost, "/deckies", map[string]any{"name": name, "services": services})
	return err
}

// timeline is an operation with the times of its steps.
type timeline struct {
	CreatedAt time.Time `json:"created_at"`
	Steps     []struct {
		Name      operation.Step `json:"name"`
		StartedAt time.Time      `json:"started_at"`
		EndedAt   time.Time      `json:"ended_at"`
	} `json:"steps"`
}

func (s *system) timeline(id string) timeline {
	s.b.Helper()
	answer, err := s.Do(harness.Within(s.b, limit), http.MethodGet, "/operations/"+id, nil)
	require.NoError(s.b, err)
	var t timeline
	require.NoError(s.b, answer.Decode(&t))
	require.NotEmpty(s.b, t.Steps, "%s", answer.Body)
	return t
}

// runtime returns how long the steps took in which the decoys were changed.
func (t timeline) runtime() time.Duration {
	var sum time.Duration
	for _, step := range t.Steps {
		switch step.Name {
		case operation.Prepare, operation.Converge, operation.Verify:
			sum += step.EndedAt.Sub(step.StartedAt)
		case operation.Validate, operation.Persist, operation.Activate, operation.Discard, operation.Undo:
		}
	}
	return sum
}

func (t timeline) started(name operation.Step) time.Time { return t.find(name, false) }
func (t timeline) ended(name operation.Step) time.Time   { return t.find(name, true) }

func (t timeline) find(name operation.Step, end bool) (at time.Time) {
	for _, step := range t.Steps {
		if step.Name == name && end {
			at = step.EndedAt
		} else if step.Name == name {
			at = step.StartedAt
		}
	}
	return at
}

// adds holds the parts of additions of a service, as the client and the steps saw them.
type adds struct{ total, overhead, runtime, queue, begin, dispatch, activate, answer samples }

// report writes the medians.
func (a *adds) report(b *testing.B) {
	b.Helper()
	report(b, "add_service: outside the runtime, median", "overhead-ms/op", a.overhead.median(), "<= 600")
	report(b, "  whole", "total-ms/op", a.total.median(), "")
	report(b, "  runtime steps", "runtime-ms/op", a.runtime.median(), "")
	report(b, "  request to begin", "queue-ms/op", a.queue.median(), "")
	report(b, "  begin", "begin-ms/op", a.begin.median(), "")
	report(b, "  begin to converge", "dispatch-ms/op", a.dispatch.median(), "")
	report(b, "  verified to activated", "activate-ms/op", a.activate.median(), "")
	report(b, "  activated to answer", "answer-ms/op", a.answer.median(), "")
}

func (a *adds) add(began, done time.Time, t timeline) {
	total, own := done.Sub(began), t.runtime()
	a.total, a.runtime, a.overhead = append(a.total, total), append(a.runtime, own), append(a.overhead, total-own)
	a.queue = append(a.queue, t.started(operation.Validate).Sub(began))
	a.begin = append(a.begin, t.ended(operation.Persist).Sub(t.started(operation.Validate)))
	a.dispatch = append(a.dispatch, t.started(operation.Prepare).Sub(t.ended(operation.Persist)))
	a.activate = append(a.activate, t.ended(operation.Activate).Sub(t.ended(operation.Verify)))
	a.answer = append(a.answer, done.Sub(t.ended(operation.Activate)))
}

// BenchmarkAddService measures what the control plane adds to the time the decoy itself takes to start: everything
// outside the steps prepare, converge and verify. The parts explain it; their clock is the one of the same machine. The
// removal that follows at once shows what an operation pays that finds its lane not yet free.
func BenchmarkAddService(b *testing.B) {
	s := startSystem(b)
	require.NoError(b, s.create("web-01", []string{}))
	var alone adds
	var behind samples
	for b.Loop() {
		for range addRounds {
			require.NoError(b, s.WaitQuiescent(harness.Within(b, limit)))
			alone.add(s.timed(http.MethodPost, "/deckies/web-01/services", map[string]any{"name": "ssh"}))
			began, done, t := s.timed(http.MethodDelete, "/deckies/web-01/services/ssh", nil)
			behind = append(behind, done.Sub(began)-t.runtime())
		}
	}
	b.ReportMetric(0, "ns/op")
	alone.report(b)
	report(b, "remove_service right behind it: outside the runtime, median", "behind-ms/op", behind.median(), "")
}

// timed is do with the instants around it.
func (s *system) timed(method, path string, body any) (began, done time.Time, t timeline) {
	s.b.Helper()
	began = time.Now()
	id, err := s.do(method, path, body)
	done = time.Now()
	require.NoError(s.b, err)
	return began, done, s.timeline(id)
}

// BenchmarkParallelDeckies compares creating deckies one after the other with creating them all at once, on one machine.
// What it can gain is bounded by the processor time one creation takes, so that is shown too; an ssh decoy makes host
// keys at its first start, which is processor time that no control plane can save.
func BenchmarkParallelDeckies(b *testing.B) {
	s := startSystem(b)
	b.Run("empty", func(b *testing.B) { s.compare(b, "empty", []string{}) })
	b.Run("ssh", func(b *testing.B) { s.compare(b, "ssh", []string{"ssh"}) })
}

// batch is how long creating all deckies took, and the processor time.
type batch struct {
	wall time.Duration
	cpu  usage
}

func (s *system) compare(b *testing.B, name string, services []string) {
	var sequence, parallel batch
	for b.Loop() {
		sequence = s.createAll(b, "s-"+name, services, 1)
		parallel = s.createAll(b, "p-"+name, services, deckies)
	}
	speedup := sequence.wall.Seconds() / parallel.wall.Seconds()
	possible := sequence.wall.Seconds() * float64(runtime.NumCPU()) / parallel.cpu.sum().Seconds()
	b.ReportMetric(0, "ns/op")
	report(b, fmt.Sprintf("%d deckies (%s): one by one / at once", deckies, name), "speedup-x", speedup, fmt.Sprintf(">= %g", wantSpeedup))
	report(b, fmt.Sprintf("  possible with %d processors", runtime.NumCPU()), "possible-x", possible, "")
	report(b, "  one by one", "sequence-s/op", sequence.wall.Seconds(), "")
	report(b, "  at once", "parallel-s/op", parallel.wall.Seconds(), "")
	report(b, "  processor time, at once", "cpu-s/op", parallel.cpu.sum().Seconds(), "")
	b.Logf("processor time one by one: %s", sequence.cpu)
	b.Logf("processor time at once: %s", parallel.cpu)
	if gate := min(wantSpeedup, wantShare*possible); speedup < gate {
		b.Errorf("creating %d deckies at once is only %.2f times as fast as one by one, not %.2f", deckies, speedup, gate)
	}
}

// createAll creates the deckies with so many requests at once. They are gone when it returns.
func (s *system) createAll(b *testing.B, prefix string, services []string, atOnce int) batch {
	b.Helper()
	began, before := time.Now(), s.cpu()
	require.NoError(b, each(prefix, atOnce, func(name string) error { return s.create(name, services) }))
	took := batch{time.Since(began), s.cpu().since(before)}
	require.NoError(b, each(prefix, deckies, func(name string) error {
		_, err := s.do(http.MethodDelete, "/deckies/"+name, nil)
		return err
	}))
	require.NoError(b, s.WaitQuiescent(harness.Within(b, limit)))
	return took
}

func each(prefix string, atOnce int, do func(name string) error) error {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i := range deckies {
		g.Go(func() error { return do(fmt.Sprintf("%s-%02d", prefix, i)) })
	}
	return g.Wait()
}

// BenchmarkWarmUp measures a start on a data directory that was used before, and a stop. Both include everything embedded.
func BenchmarkWarmUp(b *testing.B) {
	s := startSystem(b)
	var up, down samples
	for b.Loop() {
		for range upRounds {
			down = append(down, since(func() { require.NoError(b, s.Stop()) }))
			up = append(up, since(s.Start))
		}
	}
	b.ReportMetric(0, "ns/op")
	report(b, "decnet up: warm start to ready, median", "start-s/op", up.median()/1000, "< 8")
	report(b, "decnet up: SIGTERM to end, median", "stop-s/op", down.median()/1000, "")
}

func since(do func()) time.Duration {
	began := time.Now()
	do()
	return time.Since(began)
}

// BenchmarkIdleMemory measures resident memory at rest: of decnet with the embedded NATS server, without the processes
// of Postgres and Temporal, and of one decoy.
func BenchmarkIdleMemory(b *testing.B) {
	s := startSystem(b)
	require.NoError(b, s.create("web-01", []string{"ssh"}))
	require.NoError(b, s.WaitQuiescent(harness.Within(b, limit)))
	for b.Loop() {
		time.Sleep(3 * time.Second) // at rest means: what the work left over had time to go
	}
	decoys := harness.Processes(func(_ int, args []string) bool {
		return len(args) == 4 && strings.HasPrefix(args[3], filepath.Join(s.Dir, "decoys")+"/")
	})
	require.Len(b, decoys, 1)
	b.ReportMetric(0, "ns/op")
	report(b, "decnet up: resident memory at rest", "decnet-MiB", resident(b, s.PID()), "< 150")
	report(b, "one ssh decoy: resident memory at rest", "decoy-MiB", resident(b, decoys[0]), "")
}
