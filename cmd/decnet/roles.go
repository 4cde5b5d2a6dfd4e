package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/config"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/secretbox"
)

// newRoles returns one command per role, for running each in a process of its own against external parts.
func newRoles(in invocation) []*cobra.Command {
	roles := []struct{ name, short string }{
		{roleAPI, "Serve the REST API"},
		{roleWorker, "Carry out operations and recover what was lost"},
		{roleRuntime, "Run the decoys of this host"},
		{roleBridge, "Publish committed events on the bus"},
		{roleIngest, "Read and store what the decoys of this host print"},
	}
	commands := make([]*cobra.Command, 0, len(roles))
	for _, r := range roles {
		cmd := &cobra.Command{
			Use: r.name, Short: r.short, Args: cobra.NoArgs, GroupID: "",
			RunE: func(cmd *cobra.Command, _ []string) error { return runRole(cmd, in, r.name) },
		}
		config.AddFlags(cmd.Flags(), config.GroupCommon, config.GroupData, config.GroupExternal, config.GroupAPI, config.GroupRole,
			config.GroupRuntime, config.GroupIngest)
		commands = append(commands, cmd)
	}
	return commands
}

func runRole(cmd *cobra.Command, in invocation, name string) error {
	ctx := cmd.Context()
	cfg, err := config.Load(cmd.Flags(), in.environ)
	if err != nil {
		return err
	}
	if err := cfg.Require("database_url", "nats_url", "temporal_address", "secret_key_file", "host_id"); err != nil {
		return err
	}
	log := newLogger(cfg, os.Stderr).With("role", name)
	key, err := readKey(cfg.SecretKeyPath())
	if err != nil {
		return err
	}
	at := endpoints{database: cfg.DatabaseURL, nats: cfg.NATSURL, temporal: cfg.TemporalAddress}
	p, err := connect(ctx, cfg, log, key, cfg.HostID, at)
	if err != nil {
		return err
	}
	defer p.close()
	return p.runAlone(ctx, name)
}

// runAlone serves one role, its health and metrics, and writes the ready file.
func (p *process) runAlone(ctx context.Context, name string) error {
	if err := db.Patiently(ctx, func() error { return p.learnPool(ctx) }); err != nil {
		return err
	}
	r, err := p.roleNamed(ctx, name)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.dispatcher.Run(gctx) })
	if p.cfg.OpsListen != "" {
		l, err := net.Listen("tcp", p.cfg.OpsListen)
		if err != nil {
			return fault.New(fault.Invalid, "ops_listen_taken", "cannot listen on %s", p.cfg.OpsListen).Wrap(err)
		}
		g.Go(func() error { return serveHTTP(gctx, l, p.opsHandler()) })
	}
	g.Go(func() error {
		return p.serve(gctx, func() {
			p.log.InfoContext(gctx, "ready")
			if p.cfg.ReadyFile != "" {
				if err := os.WriteFile(p.cfg.ReadyFile, []byte(fmt.Sprintf("%d\n", os.Getpid())), 0o600); err != nil {
					p.log.ErrorContext(gctx, "ready file not written", "err", err)
				}
			}
		}, r)
	})
	err = g.Wait()
	if p.cfg.ReadyFile != "" {
		_ = os.Remove(p.cfg.ReadyFile)
	}
	return err
}

func (p *process) roleNamed(ctx context.Context, name string) (role, error) {
	switch name {
	case roleWorker:
		if dir := p.cfg.DataDir; dir != "" {
			if _, err := os.Stat(dir); err == nil {
				p.stateFile = filepath.Join(dir, stateFileName)
			}
		}
		return p.workerRole(), nil
	case roleBridge:
		return p.bridgeRole(), nil
	case roleIngest:
		return p.ingestRole(), nil
	case roleRuntime:
		rt, err := p.openRuntime(ctx)
		if err != nil {
			return role{}, err
		}
		return p.runtimeRole(rt), nil
	case roleAPI:
		l, err := listen(ctx, p.cfg.Listen)
		if err != nil {
			return role{}, fault.New(fault.Invalid, "listen_taken", "cannot listen on %s", p.cfg.Listen).Wrap(err)
		}
		if err := db.Patiently(ctx, func() error { return p.requireAdmin(ctx) }); err != nil {
			return role{}, err
		}
		return p.apiRole(ctx, l)
	}
	return role{}, fmt.Errorf("no role %q", name)
}

// requireAdmin makes the first admin. Without a data directory there is nowhere to keep a generated password.
func (p *process) requireAdmin(ctx context.Context) error {
	users, err := p.store.CountUsers(ctx)
	if err != nil {
		return err
	}
	if users == 0 && p.cfg.AdminPassword == "" {
		return fault.New(fault.Invalid, "admin_password_missing", "there is no user yet: set DECNET_ADMIN_PASSWORD for the first start")
	}
	_, err = p.bootstrap(ctx, filepath.Join(p.cfg.DataDir, "admin-password"))
	return err
}

// readKey reads an installation key: 32 bytes, or 64 hexadecimal digits.
func readKey(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.New(fault.Invalid, "secret_key_missing", "the installation key cannot be read from %s", path).Wrap(err)
	}
	if len(b) == secretbox.KeyBytes {
		return b, nil
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err == nil && len(key) != secretbox.KeyBytes {
		err = errors.New("wrong length")
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "secret_key_damaged", "%s holds no installation key of %d bytes", path, secretbox.KeyBytes).Wrap(err)
	}
	return key, nil
}
