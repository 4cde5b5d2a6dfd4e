package launch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/decnet/decnet/decoys/artifact"
	"github.com/decnet/decnet/decoys/certificate"
	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/http"
	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/recording"
	"github.com/decnet/decnet/decoys/redis"
	"github.com/decnet/decnet/decoys/shell"
	"github.com/decnet/decnet/decoys/ssh"
)

// server is one fake service. Serve returns when the listener is closed; Close ends what is connected.
type server interface {
	Serve(ctx context.Context, l net.Listener) error
	Close(wait time.Duration)
}

// packetServer is a server that answers datagrams too. ServePackets ends with ctx, or with an error when the gate is lost.
type packetServer interface {
	ServePackets(ctx context.Context, pc net.PacketConn) error
}

// build makes a service of which the configuration was read. It runs after binding, before the process is confined.
type build func(*launch) (server, error)

// services maps the slug of every service to what reads its configuration.
var services = map[string]func(config.Config) (build, error){
	"ftp":      buildFTP,
	"http":     buildHTTP,
	"https":    buildHTTPS,
	"mysql":    buildMySQL,
	"postgres": buildPostgres,
	"redis":    buildRedis,
	"ssh":      buildSSH,
	"telnet":   buildTelnet,
}

func constructor(cfg config.Config) (build, error) {
	read, ok := services[cfg.Service]
	if !ok {
		return nil, errors.New("unknown service")
	}
	return read(cfg)
}

func buildHTTP(cfg config.Config) (build, error) {
	svc, err := cfg.DecodeHTTP()
	if err != nil {
		return nil, err
	}
	return func(l *launch) (server, error) {
		return http.New(http.Options{Log: l.log, Config: svc, Host: l.host("", "")}), nil
	}, nil
}

func buildHTTPS(cfg config.Config) (build, error) {
	svc, err := cfg.DecodeHTTPS()
	if err != nil {
		return nil, err
	}
	var cert *certificate.Lazy
	if svc.TLSCert != "" {
		if cert, err = certificate.Given(svc.TLSCert, svc.TLSKey); err != nil {
			return nil, fmt.Errorf("service_config: %w", err)
		}
	}
	return func(l *launch) (server, error) {
		h := l.host("", "")
		if cert == nil {
			o := http.CertificateOptions(h, svc.TLSName)
			o.State = l.state
			cert = certificate.Kept(o)
		}
		return http.New(http.Options{Log: l.log, Config: svc.HTTP, Host: h, Certificate: cert}), nil
	}, nil
}

func buildRedis(cfg config.Config) (build, error) {
	svc, err := cfg.DecodeRedis()
	if err != nil {
		return nil, err
	}
	return func(l *launch) (server, error) {
		return redis.New(redis.Options{Log: l.log, Config: svc, Host: l.host("", "")}), nil
	}, nil
}

func buildSSH(cfg config.Config) (build, error) {
	svc, err := cfg.DecodeSSH()
	if err != nil {
		return nil, err
	}
	return func(l *launch) (server, error) {
		return ssh.New(ssh.Options{
			Log: l.log, Service: l.cfg.Service, Config: svc, Machine: shell.NewMachine(l.host(svc.Hostname, svc.User)), State: l.state,
			Records: recording.NewStore(l.spool, l.free), Artifacts: artifact.NewStore(l.spool, l.free, nil),
		})
	}, nil
}

// host invents the machine the decoy runs on; an empty name is the persona's.
func (l *launch) host(name, user string) *persona.Host {
	return l.invent(persona.Options{Hostname: name, User: user})
}

// invent is host for services that say more about the machine. Identity, distribution and address are filled in.
func (l *launch) invent(o persona.Options) *persona.Host {
	if ap, err := netip.ParseAddrPort(l.listeners[0].Addr().String()); err == nil {
		o.Local = ap.Addr()
	}
	if o.Local.IsUnspecified() {
		if home, err := netip.ParseAddr(l.cfg.Persona.Address); err == nil {
			o.Local = home
		}
	}
	if o.Hostname == "" {
		o.Hostname = l.cfg.Persona.Hostname
	}
	o.Identity, o.Distro = identity.New(l.cfg.NodeName, l.cfg.InstanceID), l.cfg.Persona.Distro
	return persona.New(o)
}
