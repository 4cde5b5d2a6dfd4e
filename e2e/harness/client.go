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

// Do sends one request. header holds pairs of names and values.
func (c *Client) Do(ctx context.Context, method, path string, body any, header ...string) (Answer, error) {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return Answer{}, err
		}
		reader = bytes.NewReader(b)
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
func (c *Client) Login(ctx context.Context) error {
	answer, err := c.Do(ctx, http.MethodPost, "/auth/login", map[string]string{"username": "admin", "password": AdminPassword})
	if err != nil {
		return err
	}
	var out struct {
		Token string `json:"access_token"`
	}
	if err := answer.Decode(&out); err != nil {
		return err
	}
	if out.Token == "" {
		return fmt.Errorf("login: %d %s", answer.Status, answer.Body)
	}
	c.Token = out.Token
	return nil
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
	Decky   string    `json:"decky"`
	Service string    `json:"service"`
	State   string    `json:"state"`
	Actor   string    `json:"actor"`
	Fault   *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"fault"`
	Steps []struct {
		Name  string `json:"name"`
		State string `json:"state"`
	} `json:"steps"`
	CreatedAt time.Time  `json:"created_at"`
	EndedAt   *time.Time `json:"ended_at"`
}

// Decky is the part of a decky tests look at.
type Decky struct {
	UUID     uuid.UUID `json:"uuid"`
	Name     string    `json:"name"`
	IP       string    `json:"ip"`
	State    string    `json:"state"`
	Services []struct {
		Name     string `json:"name"`
		Revision int64  `json:"revision"`
	} `json:"services"`
	Endpoints []struct {
		Service string `json:"service"`
		IP      string `json:"ip"`
		Port    int    `json:"port"`
	} `json:"endpoints"`
}

// List reads all pages of a collection.
func List[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	var all []T
	cursor := ""
	for {
		answer, err := c.Do(ctx, http.MethodGet, path+"?limit=500&cursor="+url.QueryEscape(cursor), nil)
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
		cursor = page.NextCursor
	}
}

// WaitQuiescent waits until the system is at rest.
func (c *Client) WaitQuiescent(ctx context.Context) error {
	for {
		var last error
		answer, err := c.Do(ctx, http.MethodGet, "/status", nil)
		var status struct {
			Quiescent bool `json:"quiescent"`
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
			if status.Quiescent {
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
