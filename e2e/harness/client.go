package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
)

// AdminPassword is the admin's password in every system the harness starts.
const AdminPassword = "a long test password"

// Client speaks to the API. Its methods give up when their context ends.
type Client struct {
	URL   string // ends in /api/v1
	Token string
}

// Answer is a response whose body was read.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Decode reads the body as JSON.
func (a Answer) Decode(into any) error {
	if err := json.Unmarshal(a.Body, into); err != nil {
		return fmt.Errorf("decode %d %s: %w", a.Status, a.Body, err)
	}
	return nil
}

// Raw is a body that is sent as it is.
type Raw string

// Do sends one request. header holds pairs of names and values.
func (c *Client) Do(ctx context.Context, method, path string, body any, header ...string) (Answer, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case Raw:
		reader = strings.NewReader(string(b))
	default:
		encoded, err := json.Marshal(body)
		if err != nil {
			return Answer{}, err
		}
		reader = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.URL+path, reader)
	if err != nil {
		return Answer{}, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	return Answer{Status: response.StatusCode, Header: response.Header, Body: b}, err
}

// Login gets a token for the admin.
func (c *Client) Login(ctx context.Context) error { return c.LoginAs(ctx, "admin", AdminPassword) }

// LoginAs gets a token for a user.
func (c *Client) LoginAs(ctx context.Context, user, password string) error {
	answer, err := c.Do(ctx, http.MethodPost, "/auth/login", map[string]string{"username": user, "password": password})
	if err != nil {
		return err
	}
	return c.takeToken(answer)
}

// ChangePassword changes the password of the user who is logged in, who stays so.
func (c *Client) ChangePassword(ctx context.Context, old, fresh string) error {
	answer, err := c.Do(ctx, http.MethodPost, "/auth/change-password", map[string]string{"old_password": old, "new_password": fresh})
	if err != nil {
		return err
	}
	return c.takeToken(answer)
}

func (c *Client) takeToken(answer Answer) error {
	var out struct {
		Token string `json:"access_token"`
	}
	if err := answer.Decode(&out); err != nil {
		return err
	}
	if out.Token == "" {
		return fmt.Errorf("no access token: %d %s", answer.Status, answer.Body)
	}
	c.Token = out.Token
	return nil
}

// NewUser creates an account and returns a client that is logged in with it.
func (c *Client) NewUser(ctx context.Context, name, role string) (*Client, error) {
	const first, second = "a first test password", "a second test password"
	answer, err := c.Do(ctx, http.MethodPost, "/users", map[string]string{"username": name, "password": first, "role": role})
	if err != nil {
		return nil, err
	}
	if answer.Status != http.StatusCreated {
		return nil, fmt.Errorf("create user: %d %s", answer.Status, answer.Body)
	}
	user := &Client{URL: c.URL}
	if err := user.LoginAs(ctx, name, first); err != nil {
		return nil, err
	}
	return user, user.ChangePassword(ctx, first, second)
}

// Persist sends a mutation until something other than a network error or a 5xx of a dependency comes back, always with
// the same idempotency key.
func (c *Client) Persist(ctx context.Context, method, path string, body any) (Answer, error) {
	key := uuid.NewString()
	for {
		answer, err := c.Do(ctx, method, path, body, "Idempotency-Key", key, "Prefer", "wait=0")
		if err == nil && answer.Status != http.StatusServiceUnavailable && answer.Status != http.StatusInternalServerError {
			return answer, nil
		}
		select {
		case <-ctx.Done():
			return answer, errors.Join(ctx.Err(), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Operation is the part of an operation tests look at.
type Operation struct {
	ID      uuid.UUID `json:"id"`
	Kind    string    `json:"kind"`
	Scope   string    `json:"scope"`
	Decky   string    `json:"decky"`
	Service string    `json:"service"`
	State   string    `json:"state"`
	Actor   string    `json:"actor"`
	Fault   *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"fault"`
	Steps          []Step     `json:"steps"`
	RevisionBefore *int       `json:"revision_before"`
	RevisionAfter  *int       `json:"revision_after"`
	WorkflowID     string     `json:"workflow_id"`
	CreatedAt      time.Time  `json:"created_at"`
	EndedAt        *time.Time `json:"ended_at"`
}

// Step is one step of an operation.
type Step struct {
	Name      string     `json:"name"`
	State     string     `json:"state"`
	Detail    string     `json:"detail"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`
}

// Step returns a step by name; its state is "" when the operation did not take it.
func (o Operation) Step(name string) Step {
	for _, s := range o.Steps {
		if s.Name == name {
			return s
		}
	}
	return Step{}
}

// Decky is the part of a decky tests look at.
type Decky struct {
	UUID        uuid.UUID `json:"uuid"`
	Name        string    `json:"name"`
	IP          string    `json:"ip"`
	State       string    `json:"state"`
	StateReason string    `json:"state_reason"`
	Revision    int       `json:"revision"`
	Services    []struct {
		Name     string `json:"name"`
		Revision int64  `json:"revision"`
	} `json:"services"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Endpoint is where a service listens.
type Endpoint struct {
	Service string `json:"service"`
	IP      string `json:"ip"`
	Port    int    `json:"port"`
}

// List reads all pages of a collection. filter holds pairs of query parameters and values.
func List[T any](ctx context.Context, c *Client, path string, filter ...string) ([]T, error) {
	var all []T
	query := url.Values{"limit": {"500"}}
	for i := 0; i+1 < len(filter); i += 2 {
		query.Set(filter[i], filter[i+1])
	}
	for {
		answer, err := c.Do(ctx, http.MethodGet, path+"?"+query.Encode(), nil)
		if err != nil {
			return nil, err
		}
		if answer.Status != http.StatusOK {
			return nil, fmt.Errorf("GET %s: %d %s", path, answer.Status, answer.Body)
		}
		var page struct {
			Items      []T    `json:"items"`
			NextCursor string `json:"next_cursor"`
		}
		if err := answer.Decode(&page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.NextCursor == "" {
			return all, nil
		}
		query.Set("cursor", page.NextCursor)
	}
}

// WaitQuiescent waits until the system is at rest.
func (c *Client) WaitQuiescent(ctx context.Context) error {
	return c.WaitQuiescentSince(ctx, time.Time{})
}

// WaitQuiescentSince waits until the system is at rest and has looked at its hosts since a time: what happens to a decoy from
// outside is no disturbance until somebody notices it.
func (c *Client) WaitQuiescentSince(ctx context.Context, since time.Time) error {
	for {
		var last error
		answer, err := c.Do(ctx, http.MethodGet, "/status", nil)
		var status struct {
			Quiescent bool `json:"quiescent"`
			Observer  []struct {
				StartedAt time.Time `json:"started_at"`
			} `json:"observer"`
		}
		switch {
		case err != nil:
			last = err
		case answer.Status != http.StatusOK:
			last = fmt.Errorf("status: %d %s", answer.Status, answer.Body)
		default:
			if err := answer.Decode(&status); err != nil {
				return err
			}
			seen := true
			for _, pass := range status.Observer {
				seen = seen && pass.StartedAt.After(since)
			}
			if status.Quiescent && seen {
				return nil
			}
			last = fmt.Errorf("not quiescent: %s", answer.Body)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
