package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// savedFile is a file on its way, readable for its owner only. Without force it takes the place of nothing; with force it
// takes the place of another file once it is complete.
type savedFile struct {
	*os.File
	target string
}

func createFile(name string, force bool) (*savedFile, error) {
	if !force {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("%s is there already; --force replaces it", Clean(name))
		}
		if err != nil {
			return nil, err
		}
		return &savedFile{f, name}, nil
	}
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file and is not replaced", Clean(name))
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".decnet-*")
	if err != nil {
		return nil, err
	}
	return &savedFile{f, name}, nil
}

// finish keeps the file when err is nil, and removes it otherwise.
func (f *savedFile) finish(err error) error {
	err = errors.Join(err, f.Close())
	if err == nil && f.Name() != f.target {
		err = os.Rename(f.Name(), f.target)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// saving is what save does with a body.
type saving struct {
	name  string // "" and - are Stdout
	force bool
	// screen is between the body and a terminal.
	screen func(io.Writer) io.Writer
	// check is asked at the end; a file is kept only when it says nil.
	check func() error
}

// save writes the body of an answer to a file or Stdout, and to also. It returns how much came.
func (s *session) save(ctx context.Context, k call, to saving, also ...io.Writer) (int64, error) {
	var f *savedFile
	n, err := s.client.download(ctx, k, func() (io.Writer, error) {
		var out io.Writer
		var err error
		switch {
		case to.name != "" && to.name != "-":
			f, err = createFile(to.name, to.force)
			out = f
		case s.env.isTerminal(s.env.Stdout):
			out = to.screen(s.env.Stdout)
		default:
			out = s.env.Stdout
		}
		return io.MultiWriter(append(also, out)...), err
	})
	if err == nil && to.check != nil {
		err = to.check()
	}
	if f != nil {
		err = f.finish(err)
	}
	if err == nil && f != nil {
		s.note("%d bytes are in %s", n, Clean(to.name))
	}
	return n, err
}

// download copies the body of a 2xx answer to what open returns, which is called only then. It ends when nothing comes for
// silenceLimit; a slow reader of the copy may take its time.
func (c *client) download(ctx context.Context, k call, open func() (io.Writer, error)) (int64, error) {
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := c.request(limited, k)
	if err != nil {
		return 0, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, c.unreachable(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode < http.StatusOK || res.StatusCode >= http.StatusMultipleChoices {
		return 0, refusalOf(res)
	}
	w, err := open()
	if err != nil {
		return 0, err
	}
	silent := time.AfterFunc(silenceLimit, func() { cancel(errSilent) })
	defer silent.Stop()
	n, err := io.Copy(destination{w}, waitedFor{res.Body, silent})
	var failed *writeError
	switch {
	case err == nil:
		return n, nil
	case errors.As(err, &failed):
		return n, failed.err
	case errors.Is(context.Cause(limited), errSilent):
		err = errSilent
	}
	return n, c.unreachable(ctx, err)
}

// waitedFor counts the time of its reads only.
type waitedFor struct {
	io.Reader
	silent *time.Timer
}

func (w waitedFor) Read(p []byte) (int, error) {
	w.silent.Reset(silenceLimit)
	defer w.silent.Stop()
	return w.Reader.Read(p)
}

// destination marks its errors, so that a full disk is no lost connection.
type destination struct{ io.Writer }

type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }

func (d destination) Write(p []byte) (int, error) {
	n, err := d.Writer.Write(p)
	if err != nil {
		err = &writeError{err}
	}
	return n, err
}
