/* A process of the container that waits for processes to join it, and tries to get at them.
 *
 * usage: spy COMM: COMM is the name that a joining process still has of its maker. Until it is killed, it looks
 * at every process of that name: may it be traced, its memory, environment, files and program be read? Each
 * success is a line of its own in /tmp/got; how often one was seen is the size of /tmp/seen. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* What was got of the process that is looked at. */
static char found[256];

static int is_joining(const char *pid, const char *comm)
{
	char path[64], name[32] = "";
	snprintf(path, sizeof path, "/proc/%.16s/comm", pid);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	ssize_t length = read(fd, name, sizeof name - 1);
	close(fd);
	return length > 1 && strncmp(name, comm, length - 1) == 0;
}

static void note(const char *what)
{
	strcat(found, what);
	strcat(found, "\n");
}

static void attempt(const char *pid, const char *file, int flags)
{
	char path[64], byte;
	snprintf(path, sizeof path, "/proc/%.16s/%s", pid, file);
	int fd = open(path, flags);
	if (fd < 0)
		return;
	if ((flags & O_DIRECTORY) || read(fd, &byte, 1) == 1)
		note(file);
	close(fd);
}

/* The directory of descriptors opens for its owner; what they lead to is what counts. */
static void descriptors(const char *pid)
{
	char path[64], target[16];
	for (int fd = 0; fd < 64; fd++) {
		snprintf(path, sizeof path, "/proc/%.16s/fd/%d", pid, fd);
		if (readlink(path, target, sizeof target) > 0) {
			note("fd");
			return;
		}
	}
}

static void trace(pid_t pid)
{
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0)
		return;
	note("ptrace");
	ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
	waitpid(pid, NULL, __WALL);
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	int seen = open("/tmp/seen", O_WRONLY | O_CREAT | O_APPEND, 0666);
	int got = open("/tmp/got", O_WRONLY | O_CREAT | O_APPEND, 0666);
	for (;;) {
		DIR *proc = opendir("/proc");
		for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
			const char *pid = entry->d_name;
			if (*pid < '1' || *pid > '9' || !is_joining(pid, argv[1]))
				continue;
			found[0] = 0;
			attempt(pid, "exe", O_RDONLY);
			descriptors(pid);
			attempt(pid, "environ", O_RDONLY);
			attempt(pid, "maps", O_RDONLY);
			attempt(pid, "root", O_RDONLY | O_DIRECTORY);
			attempt(pid, "cwd", O_RDONLY | O_DIRECTORY);
			trace(atoi(pid));
			/* It was a joining process's only if it still is one; else a command as any other. */
			if (!is_joining(pid, argv[1]))
				continue;
			if (write(got, found, strlen(found)) < 0 || write(seen, "x", 1) != 1)
				return 1;
		}
		closedir(proc);
	}
}
