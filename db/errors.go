package db

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/decnet/decnet/internal/fault"
)

// conflicts maps constraints that a caller's request can run into; every other violation is a bug of ours.
var conflicts = map[string]*fault.Error{
	"deckies_scope_name":      fault.New(fault.Conflict, "decky_exists", "a decky of that name exists"),
	"deckies_key":             fault.New(fault.Conflict, "decky_exists", "a decky of that name exists"),
	"deckies_ip":              fault.New(fault.Conflict, "address_in_use", "the address belongs to another decky"),
	"decky_revisions_pending": fault.New(fault.Conflict, "decky_busy", "another change of the decky is under way"),
	"topologies_name":         fault.New(fault.Conflict, "topology_exists", "a topology of that name exists"),
	"topologies_short_id":     fault.New(fault.Unavailable, "topology_id_taken", "no id was to be had for the topology, try again"),
	"lans_topology_name":      fault.New(fault.Conflict, "lan_exists", "a LAN of that name exists"),
	"lans_subnet":             fault.New(fault.Conflict, "subnet_in_use", "the subnet overlaps that of another LAN"),
	"topology_edges_member":   fault.New(fault.Conflict, "edge_exists", "the decky is a member of the LAN already"),
	"topology_edges_ip":       fault.New(fault.Conflict, "address_in_use", "the address belongs to another decky of the LAN"),
	"users_username":          fault.New(fault.Conflict, "user_exists", "a user of that name exists"),
	"api_tokens_name":         fault.New(fault.Conflict, "token_exists", "a token of that name exists"),
}

// Error codes of PostgreSQL's appendix A.
const (
	uniqueViolation    = "23505"
	exclusionViolation = "23P01"
)

// ErrNoRows is in the chain of the NotFound fault of a query that found nothing.
var ErrNoRows = pgx.ErrNoRows

// interpret is the one place where errors of Postgres become faults; faults and nil pass through.
func interpret(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := fault.As(err); ok {
		return err
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.New(fault.NotFound, "not_found", "there is no such thing").Wrap(err)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return interpretServer(pg)
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	if connectionLost(err) {
		return unavailable(err)
	}
	return err
}

func interpretServer(pg *pgconn.PgError) error {
	if f, ok := conflicts[pg.ConstraintName]; ok && (pg.Code == uniqueViolation || pg.Code == exclusionViolation) {
		return f.Wrap(pg)
	}
	// Classes of PostgreSQL's appendix A: 08 connection, 40 rollback, 53 resources, 57 operator intervention (shutdown).
	switch {
	case strings.HasPrefix(pg.Code, "08"), strings.HasPrefix(pg.Code, "40"),
		strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "57"):
		return unavailable(pg)
	}
	return pg
}

func connectionLost(err error) bool {
	var network net.Error
	var connect *pgconn.ConnectError
	return errors.As(err, &network) || errors.As(err, &connect) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, driver.ErrBadConn) || pgconn.SafeToRetry(err) || strings.Contains(err.Error(), "unexpected EOF") || strings.Contains(err.Error(), "conn closed")
}

func unavailable(cause error) error {
	return fault.New(fault.Unavailable, "database_unavailable", "the database does not answer").Wrap(cause)
}
