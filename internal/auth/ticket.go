package auth

import (
	"strings"

	"github.com/google/uuid"
)

// ticketPrefix tells tickets from tokens, so that a token in the place of a ticket is refused unseen.
const ticketPrefix = "ticket_"

// Ticket opens one event stream for whoever asked for it: browsers cannot send a header with an EventSource, and what is
// in a query string must be worthless soon.
type Ticket struct {
	UserID uuid.UUID
	// APITokenID is the API token that asked; uuid.Nil when Claims are those of the access token that did.
	APITokenID uuid.UUID
	Claims     Claims
	// Role is the one the bearer had; a ticket of another role than the bearer has now is dead.
	Role Role
}

// NewTicket returns a random ticket, to be shown once, and the hash to store.
func NewTicket() (ticket string, hash []byte, err error) {
	text, err := randomText(apiTokenBytes)
	if err != nil {
		return "", nil, err
	}
	ticket = ticketPrefix + text
	return ticket, HashAPIToken(ticket), nil
}

// IsTicket reports whether a credential has the form of a ticket.
func IsTicket(s string) bool { return strings.HasPrefix(s, ticketPrefix) }
