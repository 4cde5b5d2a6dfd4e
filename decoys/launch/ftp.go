package launch

import (
	"errors"
	"net/netip"

	"github.com/decnet/decnet/decoys/artifact"
	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/ftp"
	"github.com/decnet/decnet/decoys/passive"
)

func buildFTP(cfg config.Config) (build, error) {
	if _, err := cfg.DecodeFTP(); err != nil {
		return nil, err
	}
	return func(l *launch) (server, error) {
		data, err := l.dataPorts(ftp.Ports)
		if err != nil {
			return nil, err
		}
		return ftp.New(ftp.Options{
			Log: l.log, Host: l.host("", ""), NmapOS: l.cfg.Persona.NmapOS, Data: data, Artifacts: artifact.NewStore(l.spool, l.free, nil),
		}), nil
	}, nil
}

// errDataPorts marks an error of binding that happened while a service was built.
var errDataPorts = errors.New("data ports")

// dataPorts binds ports for data connections on the address the service listens on, and has the sandbox let it listen on them.
func (l *launch) dataPorts(n int) (*passive.Pool, error) {
	at, err := netip.ParseAddrPort(l.listeners[0].Addr().String())
	if err != nil {
		return nil, errors.Join(errDataPorts, err)
	}
	pool, err := passive.Bind(at.Addr(), n)
	if err != nil {
		return nil, errors.Join(errDataPorts, err)
	}
	l.listens = true
	return pool, nil
}
