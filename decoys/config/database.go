package config

import (
	"errors"
	"regexp"
)

// MySQL is the service configuration of the mysql decoy; an empty version is made up from the decky's identity.
type MySQL struct {
	Version string `json:"version"`
}

// Postgres is the service configuration of the postgres decoy: there is nothing to configure.
type Postgres struct{}

var mysqlVersionPattern = regexp.MustCompile(`^[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,3}(-[0-9A-Za-z][0-9A-Za-z.+~_-]{0,58})?$`)

// DecodeMySQL returns the service configuration of a mysql decoy.
func (c Config) DecodeMySQL() (MySQL, error) {
	var m MySQL
	if err := c.decodeService(&m); err != nil {
		return MySQL{}, err
	}
	if m.Version != "" && !mysqlVersionPattern.MatchString(m.Version) {
		return MySQL{}, errors.New("service_config: version is malformed")
	}
	return m, nil
}

// DecodePostgres returns the service configuration of a postgres decoy.
func (c Config) DecodePostgres() (Postgres, error) {
	var p Postgres
	return p, c.decodeService(&p)
}
