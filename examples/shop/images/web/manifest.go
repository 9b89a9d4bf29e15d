package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sparseFrom is the size from which a file with holes is reported as such:
// below it, filesystems differ in how they round.
const sparseFrom = 1 << 20

// printManifests prints what two copies of a volume must agree on, one sorted
// line per entry, so that `diff` shows the first difference by its name.
func printManifests(paths []string) error {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			sum, err := contentDigest(path)
			if err != nil {
				return err
			}
			fmt.Println("device", sum, strconv.Quote(path))
			continue
		}
		lines, err := manifest(path)
		if err != nil {
			return err
		}
		fmt.Println(strings.Join(lines, "\n"))
	}
	return nil
}

// listing is what a reader without rights over the files can say about them:
// type, mode, owner and size.
func listing(dir string) ([]string, error) {
	return walk(dir, func(path, name string, st *unix.Stat_t) (string, error) {
		return fmt.Sprintf("%s %d:%d %d %s", modeString(st.Mode), st.Uid, st.Gid, sizeOf(st), name), nil
	})
}

// manifest adds times, contents, link targets, extended attributes, holes and
// which names are the same file. It must run as root.
func manifest(dir string) ([]string, error) {
	first := map[uint64]string{}
	return walk(dir, func(path, name string, st *unix.Stat_t) (string, error) {
		line := fmt.Sprintf("%s %d:%d %d", modeString(st.Mode), st.Uid, st.Gid, sizeOf(st))
		if path != dir { // mounting a volume may touch its root
			line += fmt.Sprintf(" %d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			sum, err := contentDigest(path)
			if err != nil {
				return "", err
			}
			line += " sha256:" + sum
			if st.Size >= sparseFrom && st.Blocks*512 < st.Size/2 {
				line += " sparse"
			}
			if other, seen := first[st.Ino]; seen {
				line += " same-as:" + other
			} else if st.Nlink > 1 {
				first[st.Ino] = name
			}
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return "", err
			}
			line += " ->" + strconv.QuoteToASCII(target)
		}
		attributes, err := xattrs(path)
		return line + attributes + " " + name, err
	})
}

// walk visits dir in the order of the names' bytes. What may not be read is
// listed without what is below it.
func walk(dir string, describe func(path, name string, st *unix.Stat_t) (string, error)) ([]string, error) {
	var lines []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			if os.IsPermission(err) && path != dir {
				return fs.SkipDir
			}
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if relative == "lost+found" { // mkfs made it, not the application
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &os.PathError{Op: "lstat", Path: path, Err: err}
		}
		line, err := describe(path, strconv.QuoteToASCII(relative), &st)
		lines = append(lines, line)
		return err
	})
	return lines, err
}

func modeString(mode uint32) string {
	kind := map[uint32]string{
		unix.S_IFREG: "-", unix.S_IFDIR: "d", unix.S_IFLNK: "l", unix.S_IFIFO: "p",
		unix.S_IFSOCK: "s", unix.S_IFCHR: "c", unix.S_IFBLK: "b",
	}[mode&unix.S_IFMT]
	return fmt.Sprintf("%s%04o", kind, mode&0o7777)
}

// sizeOf leaves out sizes of directories: each filesystem has its own.
func sizeOf(st *unix.Stat_t) int64 {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return 0
	}
	return st.Size
}

func contentDigest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.CopyBuffer(hash, file, make([]byte, 1<<20)); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}

func xattrs(path string) (string, error) {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return "", &os.PathError{Op: "llistxattr", Path: path, Err: err}
	}
	var all []string
	for _, name := range bytes.Split(names[:n], []byte{0}) {
		if len(name) == 0 || string(name) == "security.selinux" { // the host's, not the file's
			continue
		}
		value := make([]byte, 64<<10)
		size, err := unix.Lgetxattr(path, string(name), value)
		if err != nil {
			return "", &os.PathError{Op: "lgetxattr " + string(name), Path: path, Err: err}
		}
		sum := sha256.Sum256(value[:size])
		all = append(all, fmt.Sprintf(" %s=%d:%x", name, size, sum[:4]))
	}
	sort.Strings(all)
	return strings.Join(all, ""), nil
}
