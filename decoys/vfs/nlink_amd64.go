package vfs

func nlink(n int) uint64 { return uint64(n) }
