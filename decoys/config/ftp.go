package config

// FTP is the service configuration of the ftp decoy: there is nothing to choose.
type FTP struct{}

// DecodeFTP refuses every field.
func (c Config) DecodeFTP() (FTP, error) {
	var f FTP
	return f, c.decodeService(&f)
}
