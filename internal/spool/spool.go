// Package spool opens what decoys have kept below the artifacts root. The folders there belong to decoys, which intruders may
// have taken over: a name in them may be a link, a pipe or a device by the time it is opened.
//
// The invariant: what is opened is a regular file that lies where its path says, without a link on the way.
package spool

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// Open opens the file root/path[0]/path[1]/... for reading. What is not there, is no regular file, or is reached by a link is
// fs.ErrNotExist. Each part of path must be a plain name.
func Open(root string, path ...string) (*os.File, error) {
	for _, name := range path {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return nil, fmt.Errorf("open below the artifacts root: %w", fs.ErrNotExist)
		}
	}
	if root == "" || len(path) == 0 {
		return nil, fs.ErrNotExist
	}
	dir, err := os.OpenRoot(root)
	for _, name := range path[:len(path)-1] {
		if err != nil {
			return nil, err
		}
		dir, err = enter(dir, name)
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return open(dir, path[len(path)-1])
}

// enter closes dir and returns the folder of that name in it.
func enter(dir *os.Root, name string) (*os.Root, error) {
	defer dir.Close()
	before, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.IsDir() {
		return nil, fmt.Errorf("a folder of artifacts is none: %w", fs.ErrNotExist)
	}
	next, err := dir.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	if after, err := next.Stat("."); err != nil || !os.SameFile(before, after) {
		_ = next.Close()
		return nil, fmt.Errorf("a folder of artifacts was exchanged: %w", fs.ErrNotExist)
	}
	return next, nil
}

// open must not wait for the other end of a pipe, hence O_NONBLOCK.
func open(dir *os.Root, name string) (*os.File, error) {
	before, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, fmt.Errorf("an artifact is no regular file: %w", fs.ErrNotExist)
	}
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if after, err := f.Stat(); err != nil || !os.SameFile(before, after) {
		_ = f.Close()
		return nil, fmt.Errorf("an artifact was exchanged: %w", fs.ErrNotExist)
	}
	return f, nil
}
