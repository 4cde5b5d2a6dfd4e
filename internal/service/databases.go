package service

import "regexp"

var mysqlVersionPattern = regexp.MustCompile(`^[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,3}(-[0-9A-Za-z][0-9A-Za-z.+~_-]{0,58})?$`)

func mysql() Definition {
	return Definition{
		Name:  "mysql",
		Title: "MySQL",
		Ports: []Port{{"tcp", 3306}},
		Fields: []Field{
			{
				Key: "version", Label: "Version", Type: String, Placeholder: "chosen per decky",
				Help:    "The version of the greeting. Capabilities, authentication, TLS and the certificate's name follow it; a suffix with MariaDB makes it one.",
				Pattern: mysqlVersionPattern, PatternHelp: "a version such as 8.0.36 or 5.7.44-log",
			},
		},
	}
}

func postgres() Definition {
	return Definition{Name: "postgres", Title: "PostgreSQL", Ports: []Port{{"tcp", 5432}}}
}
