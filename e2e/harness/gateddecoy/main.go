// Command gateddecoy stands in front of the real decoy and misbehaves when a test asks for it. It takes the same
// arguments; a file named after the decky key in the folder "ask" beside the program says what to do: "crash" ends it
// at once, "crash TEXT" only if its configuration contains TEXT, "wait" holds it up until the file is gone. Otherwise it
// becomes the program "real" beside it.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	err := run(os.Args, os.Environ())
	fmt.Fprintln(os.Stderr, "gateddecoy:", err)
	os.Exit(1)
}

func run(args, environ []string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	dir := filepath.Dir(program)
	if len(args) == 4 && args[1] == "run" {
		if err := obey(filepath.Join(dir, "ask"), args[3]); err != nil {
			return err
		}
	}
	return syscall.Exec(filepath.Join(dir, "real"), args, environ)
}

func obey(asked, config string) error {
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	var c struct {
		Key           string          `json:"decky_key"`
		ServiceConfig json.RawMessage `json:"service_config"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	for {
		wish, err := os.ReadFile(filepath.Join(asked, c.Key))
		if err != nil {
			return nil //nolint:nilerr // nothing is asked for
		}
		if on, crash := strings.CutPrefix(string(wish), "crash"); crash {
			if !bytes.Contains(c.ServiceConfig, []byte(strings.TrimSpace(on))) {
				return nil
			}
			return fmt.Errorf("as asked for")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
