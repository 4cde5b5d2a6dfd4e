package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/e2e/harness"
)

func oneKeyOneOperation(t *testing.T, s *system) {
	const n = 100
	body := map[string]any{"name": "once-01", "services": []string{"ssh"}, "ip": s.ip()}
	answers := make([]harness.Answer, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var err error
			answers[i], err = s.Do(harness.Within(t, patience), http.MethodPost, "/deckies", body, "Idempotency-Key", "once", "Prefer", "wait=60")
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, a := range answers {
		require.Equal(t, http.StatusCreated, a.Status, "%s", a.Body)
		require.Equal(t, string(answers[0].Body), string(a.Body))
		require.Equal(t, operationOf(t, answers[0]), operationOf(t, a))
	}
	require.Len(t, s.operations(t, "decky", "once-01"), 1)
	require.Len(t, s.decoysOf(s.decky(t, "once-01")), 1)

	body["hostname"] = "another"
	refused := s.must(t, http.StatusUnprocessableEntity, http.MethodPost, "/deckies", body, "Idempotency-Key", "once")
	require.Contains(t, string(refused.Body), "idempotency_key_reused")
}

// addsAndRemoves sends changes that contradict each other and folds what came out of them.
func addsAndRemoves(t *testing.T, s *system) {
	const n = 50
	s.create(t, "tug-01")
	var wg sync.WaitGroup
	results := make([]harness.Answer, n)
	for i := range n {
		wg.Go(func() {
			method, path, body := http.MethodPost, "/deckies/tug-01/services", any(map[string]any{"name": "ssh"})
			if i%2 == 1 {
				method, path, body = http.MethodDelete, path+"/ssh", nil
			}
			var err error
			results[i], err = s.Do(harness.Within(t, 2*patience), method, path, body, "Prefer", "wait=60")
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, r := range results {
		require.Contains(t, []int{http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusConflict}, r.Status, "%s", r.Body)
	}
	eventually(t, func() bool {
		return !slices.ContainsFunc(s.operations(t, "decky", "tug-01"), func(op harness.Operation) bool { return op.EndedAt == nil })
	}, "all operations end")
	operations := s.operations(t, "decky", "tug-01")
	requests := slices.DeleteFunc(slices.Clone(operations), func(op harness.Operation) bool { return op.Actor == "observer" })
	require.Len(t, requests, n+1, "none is lost, none is there twice")
	fold(t, s.decky(t, "tug-01"), requests)
}

// fold replays the successful operations of a decky and compares the outcome with what the decky is.
func fold(t *testing.T, d harness.Decky, operations []harness.Operation) {
	t.Helper()
	operations = slices.DeleteFunc(operations, func(op harness.Operation) bool {
		require.Contains(t, []string{"succeeded", "refused"}, op.State, "%+v", op)
		return op.State != "succeeded"
	})
	slices.SortFunc(operations, func(a, b harness.Operation) int { return *a.RevisionAfter - *b.RevisionAfter })
	present := false
	for i, op := range operations {
		require.Equal(t, i+1, *op.RevisionAfter, "revisions have no gap")
		if i > 0 {
			require.Equal(t, i, *op.RevisionBefore, "every change builds on the one before")
			require.False(t, op.EndedAt.Before(*operations[i-1].EndedAt), "changes end in order")
			require.Equal(t, map[string]bool{"add_service": false, "remove_service": true}[op.Kind], present, "%s twice in a row", op.Kind)
		}
		present = op.Kind == "add_service"
	}
	require.Equal(t, len(operations), d.Revision)
	require.Equal(t, present, len(d.Services) == 1)
	require.Equal(t, present, len(d.Endpoints) == 1)
}

// hostileInput sends what no client of ours would. An account of its own tells its traces from those of other tests.
func hostileInput(t *testing.T, s *system) {
	user, err := s.NewUser(harness.Within(t, patience), "hostile", "admin")
	require.NoError(t, err)
	before := s.create(t, "target-01")
	for name, value := range hostileValues() {
		for path, body := range hostileBodies(value) {
			refuse(t, user, http.MethodPost, path, harness.Raw(body), name)
		}
	}
	for _, path := range []string{
		"/deckies/'; DROP TABLE deckies; --", "/deckies/..%2f..%2fetc%2fpasswd", "/deckies/%00", "/deckies/%ff%fe", "/deckies/" + strings.Repeat("a", 10_000),
		"/deckies/target-01/services/..%2f..%2f", "/deckies/target-01/services/%0a", "/operations/1%20OR%201=1", "/operations?state=%27", "/operations?limit=-1",
		"/operations?cursor=%ff", "/deckies?limit=1e9", "/operations?decky=a.%3E", "/no/such/route",
	} {
		path = strings.ReplaceAll(path, " ", "%20")
		refuse(t, user, http.MethodGet, path, nil, "GET")
		refuse(t, user, http.MethodDelete, path, nil, "DELETE")
	}
	refuse(t, user, http.MethodPost, "/deckies", harness.Raw(`{"name":"x","hostname":"`+strings.Repeat("a", 2<<20)+`"}`), "2 MiB")
	refuse(t, user, http.MethodPost, "/deckies", harness.Raw(strings.Repeat("[", 100_000)), "deep")
	for _, key := range []string{"", strings.Repeat("k", 129), "\xff\xfe", "a\tb"} {
		refuse(t, user, http.MethodPost, "/deckies", harness.Raw(`{"name":"key-01","services":[]}`), "key "+key, "Idempotency-Key", key)
	}
	for _, mediaType := range []string{"text/xml", "application/x-www-form-urlencoded", "application/json; charset=utf-16"} {
		refuse(t, user, http.MethodPost, "/deckies", harness.Raw(`{"name":"media-01","services":[]}`), mediaType, "Content-Type", mediaType)
	}
	require.Equal(t, before, s.decky(t, "target-01"))
	for _, op := range s.operations(t, "actor", "hostile") {
		require.Equal(t, "refused", op.State, "%+v", op)
		require.Contains(t, []string{"decky_not_found", "service_not_present"}, op.Fault.Code, "only a well-formed request leaves a trace")
	}
	deckies, err := harness.List[harness.Decky](harness.Within(t, patience), &s.Client, "/deckies")
	require.NoError(t, err)
	for _, d := range deckies {
		require.Regexp(t, `^[a-z]+-\d+(-[a-z]+-\d+)?$`, d.Name)
		require.NotContains(t, []string{"key-01", "media-01"}, d.Name)
	}
}

// refuse requires a 4xx in the one form that failures have.
func refuse(t *testing.T, c *harness.Client, method, path string, body any, what string, header ...string) {
	t.Helper()
	answer, err := c.Do(harness.Within(t, patience), method, path, body, header...)
	if err != nil {
		// The client itself knows better than to send it, or the server hung up in the middle of a huge body.
		require.Regexp(t, `invalid header|invalid URL|broken pipe|connection reset`, err.Error(), "%s %s %s", what, method, cut(path))
		return
	}
	require.GreaterOrEqual(t, answer.Status, 400, "%s: %s %s %s", what, method, cut(path), answer.Body)
	require.Less(t, answer.Status, 500, "%s: %s %s %s", what, method, cut(path), answer.Body)
	require.Equal(t, "application/problem+json", answer.Header.Get("Content-Type"), "%s: %s %s", what, method, cut(path))
	require.True(t, json.Valid(answer.Body))
}

func cut(s string) string { return s[:min(len(s), 60)] }

// hostileValues are JSON values, some of them not even that, which are wrong as any name.
func hostileValues() map[string]string {
	return map[string]string{
		"number": `17`, "huge number": `1e400`, "bool": `true`, "null": `null`, "list": `["a"]`, "object": `{"a":1}`, "empty": `""`,
		"10 kB": `"` + strings.Repeat("a", 10<<10) + `"`, "control": `"a\u0001b"`, "nul": `"a\u0000"`, "raw control": "\"a\x01b\"",
		"SQL": `"'; DROP TABLE deckies; --"`, "path": `"../../../etc/passwd"`, "markup": `"<script>alert(1)</script>"`,
		"subject": `"a.>.*"`, "invalid UTF-8": "\"a\xff\xfe\"", "lone surrogate": `"\ud800"`, "truncated": `"a`,
	}
}

func hostileBodies(value string) map[string]string {
	return map[string]string{
		"/deckies":                                 fmt.Sprintf(`{"name":%s,"services":[]}`, value),
		"/deckies?":                                fmt.Sprintf(`{"name":"evil-01","services":[],"surprise":%s}`, value),
		"/deckies?a":                               fmt.Sprintf(`{"name":"evil-02","services":[%s]}`, value),
		"/deckies?b":                               fmt.Sprintf(`{"name":"evil-03","services":[],"service_config":%s,"x":1}`, value),
		"/deckies/target-01/services":              fmt.Sprintf(`{"name":%s}`, value),
		"/deckies/target-01/services/ssh/apply":    fmt.Sprintf(`{"config":%s}`, value),
		"/deckies/target-01/services/ssh/apply?":   fmt.Sprintf(`{"config":{"user":%s},"x":1}`, value),
		"/deckies/target-01/services/redis/apply?": fmt.Sprintf(`{"config":{"version":%s}}`, value),
		"/users":  fmt.Sprintf(`{"username":%s,"password":"a long enough password"}`, value),
		"/tokens": fmt.Sprintf(`{"name":%s,"role":"viewer"}`, value),
	}
}
