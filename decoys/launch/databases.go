package launch

import (
	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/mysql"
	"github.com/decnet/decnet/decoys/postgres"
)

func buildMySQL(cfg config.Config) (build, error) {
	svc, err := cfg.DecodeMySQL()
	if err != nil {
		return nil, err
	}
	return func(l *launch) (server, error) {
		return mysql.New(mysql.Options{Log: l.log, Config: svc, Host: l.host("", ""), State: l.state}), nil
	}, nil
}

func buildPostgres(cfg config.Config) (build, error) {
	if _, err := cfg.DecodePostgres(); err != nil {
		return nil, err
	}
	return func(l *launch) (server, error) {
		return postgres.New(postgres.Options{Log: l.log, Host: l.host("", "")}), nil
	}, nil
}
