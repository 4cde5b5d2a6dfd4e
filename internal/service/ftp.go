package service

func ftp() Definition {
	return Definition{Name: "ftp", Title: "File transfer", Ports: []Port{{"tcp", 21}}, Fields: []Field{}}
}
