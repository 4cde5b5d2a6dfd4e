package bench_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/internal/bus"
	"github.com/decnet/decnet/internal/secretbox"
	"github.com/decnet/decnet/internal/service"
)

// payload has the shape and size of what a decky's event carries.
var payload = map[string]any{
	"decky_name": "web-01", "service_name": "ssh", "topology_id": nil, "services": []string{"ssh"},
	"operation_id": "00000000-0000-4000-8000-000000000001",
}

func envelope(b *testing.B) bus.Envelope {
	b.Helper()
	subject, err := bus.Decky("web-01", bus.EventDeckyServiceAdded)
	require.NoError(b, err)
	e, err := bus.New(subject, bus.EventDeckyServiceAdded, time.Unix(1_770_000_000, 0), payload)
	require.NoError(b, err)
	return e
}

func BenchmarkSubject(b *testing.B) {
	for name, build := range map[string]func() (bus.Subject, error){
		"decky":   func() (bus.Subject, error) { return bus.Decky("web-01", bus.EventDeckyServiceAdded) },
		"dotted":  func() (bus.Subject, error) { return bus.AttackerObservation("ssh.client.banner") },
		"mutated": func() (bus.Subject, error) { return bus.TopologyMutation("t-1", bus.MutationApplied) },
		"parse":   func() (bus.Subject, error) { return bus.ParseSubject("decky.web-01.service_added") },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := build(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEnvelopeEncode(b *testing.B) {
	e := envelope(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEnvelopeDecode(b *testing.B) {
	data, err := envelope(b).Encode()
	require.NoError(b, err)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bus.Decode("decky.web-01.service_added", data, bus.Defaults{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for name, pattern := range map[string]string{
		"literal": "decky.web-01.service_added", "token": "decky.*.service_added", "suffix": "decky.>",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !bus.Match(pattern, "decky.web-01.service_added") {
					b.Fatal("no match")
				}
			}
		})
	}
}

func BenchmarkConfigValidate(b *testing.B) {
	ssh, ok := service.Lookup("ssh")
	require.True(b, ok)
	submitted := map[string]any{"password": "hunter2", "user": "deploy", "user_password": "deploy", "hostname": "web-01.example.org"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ssh.Validate("body.config", submitted); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEventLogLine(b *testing.B) {
	for name, command := range map[string]string{
		"plain": "uname -a; cat /etc/passwd", "hostile": "\x1b[2J\r\n\"]\\\xff", "long": strings.Repeat(`"]\`, 4000),
	} {
		b.Run(name, func(b *testing.B) {
			l := eventlog.New(io.Discard, "web-01", "ssh", "00000000-0000-4000-8000-000000000001", 1, nil)
			event := eventlog.Event{MsgID: "command", Fields: []eventlog.Field{
				eventlog.F("src_ip", "198.51.100.7"), eventlog.Int("src_port", 40022), eventlog.F("user", "root"), eventlog.F("command", command),
			}}
			b.ReportAllocs()
			for b.Loop() {
				l.Emit(event)
			}
		})
	}
}

func BenchmarkSecretbox(b *testing.B) {
	box, err := secretbox.New(make([]byte, secretbox.KeyBytes))
	require.NoError(b, err)
	const row = "00000000-0000-4000-8000-000000000001"
	plain := []byte(strings.Repeat("x", 512))
	sealed, err := box.Seal(plain, row)
	require.NoError(b, err)
	for name, do := range map[string]func() ([]byte, error){
		"seal": func() ([]byte, error) { return box.Seal(plain, row) },
		"open": func() ([]byte, error) { return box.Open(sealed, row) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
