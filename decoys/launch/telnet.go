package launch

import (
	"github.com/decnet/decnet/decoys/artifact"
	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/recording"
	"github.com/decnet/decnet/decoys/session"
	"github.com/decnet/decnet/decoys/shell"
	"github.com/decnet/decnet/decoys/telnet"
)

func buildTelnet(cfg config.Config) (build, error) {
	svc, err := cfg.DecodeTelnet()
	if err != nil {
		return nil, err
	}
	return func(l *launch) (server, error) {
		host := l.invent(persona.Options{Hostname: svc.Hostname, User: svc.User, Telnet: true})
		return telnet.New(telnet.Options{Config: svc, Options: session.Options{
			Log: l.log, Service: l.cfg.Service, Machine: shell.NewMachine(host),
			Records: recording.NewStore(l.spool, l.free), Artifacts: artifact.NewStore(l.spool, l.free, nil),
		}}), nil
	}, nil
}
