package api

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/fault"
)

// ticketLife is how long a ticket may wait for its use.
const ticketLife = time.Minute

// TicketBody is a ticket just made.
type TicketBody struct {
	Ticket    string `json:"ticket" doc:"Opens one event stream, as ?ticket=, with what its bearer may read"`
	ExpiresIn int    `json:"expires_in" doc:"Seconds"`
}

func (s *server) createTicket(ctx context.Context, _ *empty) (*output[TicketBody], error) {
	p := principalOf(ctx)
	value, hash, err := auth.NewTicket()
	if err != nil {
		return nil, err
	}
	t := auth.Ticket{UserID: p.user.ID, Claims: p.claims, Role: p.role}
	if p.token != nil {
		t.APITokenID = p.token.ID
	}
	if err := s.deps.Store.AddTicket(ctx, hash, t, ticketLife); err != nil {
		return nil, err
	}
	return &output[TicketBody]{Body: TicketBody{Ticket: value, ExpiresIn: int(ticketLife / time.Second)}}, nil
}

func (s *server) registerTickets() {
	register(s, viewer, describe(http.MethodPost, "create-sse-ticket", "/auth/sse-ticket",
		"Get a ticket for one event stream, for clients that cannot send headers with it", "auth"), s.createTicket)
}

// identifyReader finds out who opens a stream: by header as everywhere, or by ticket. An access token in the query string
// is refused even beside good credentials, or it would go on being sent there.
func (s *server) identifyReader(c *gin.Context) (principal, error) {
	query := c.Request.URL.Query()
	if query.Has("token") || query.Has("access_token") {
		return principal{}, fault.New(fault.Unauthorized, "credential_in_query",
			"access tokens do not belong into a query string: get a ticket")
	}
	if header := c.GetHeader("Authorization"); header != "" || !query.Has("ticket") {
		return s.identify(c.Request.Context(), header)
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), authLimit)
	defer cancel()
	return s.useTicket(ctx, query.Get("ticket"))
}

func (s *server) useTicket(ctx context.Context, value string) (principal, error) {
	if !auth.IsTicket(value) || len(value) > maxCredential {
		return principal{}, auth.BadToken()
	}
	t, err := s.deps.Store.TakeTicket(ctx, auth.HashAPIToken(value))
	if err != nil {
		return principal{}, unknown(err)
	}
	asked := principal{claims: t.Claims}
	if t.Claims == (auth.Claims{}) {
		asked.token = &auth.APIToken{ID: t.APITokenID}
	}
	p, err := s.identifyAgain(ctx, asked)
	if err == nil && p.role != t.Role {
		err = auth.BadToken()
	}
	return p, err
}
