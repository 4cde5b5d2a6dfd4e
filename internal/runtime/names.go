package runtime

import "strings"

// ServiceFileName returns how a service slug is spelled in file, folder and container names: "_" becomes "-".
// Slugs hold no "-", so the spelling is unique; ServiceFromFileName undoes it.
func ServiceFileName(slug string) string { return strings.ReplaceAll(slug, "_", "-") }

// ServiceFromFileName returns the slug that ServiceFileName spelled as name.
func ServiceFromFileName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// SpoolName returns the folder of a service's recordings and mail below its decky's artifact folder. Both mail
// services store under "smtp"; every other service has its own folder.
func SpoolName(slug string) string {
	if slug == "smtp_relay" {
		return "smtp"
	}
	return ServiceFileName(slug)
}
