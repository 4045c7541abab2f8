/* Prints everything a process can see of itself, one "KEY VALUE" a line; its own pid as "self".
 *
 * What the kernel refuses is printed as the errno, so a refusal is compared like a value. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <termios.h>
#include <unistd.h>

extern char **environ;

static void number(const char *key, long value)
{
	if (value == -1)
		printf("%s errno %d\n", key, errno);
	else
		printf("%s %#lx\n", key, value);
}

/* A pid, or what stands for it. */
static void pid(const char *key, long value)
{
	if (value == getpid())
		printf("%s self\n", key);
	else
		number(key, value);
}

/* Control characters would end the line. */
static void text(const char *value, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (value[i] >= ' ')
			putchar(value[i]);
		else
			printf("\\x%02x", value[i]);
	putchar('\n');
}

/* With single spaces; where the words are pids, the own one becomes "self". */
static void words(char *line, int pids)
{
	char own[16], *rest = line, *word;
	snprintf(own, sizeof own, "%d", getpid());
	while ((word = strsep(&rest, " \t")) != NULL)
		if (*word)
			printf(" %s", pids && !strcmp(word, own) ? "self" : word);
	putchar('\n');
}

/* Fields of /proc/self/status that hold pids. */
static int holds_pids(const char *field)
{
	static const char *const names[] = {"Pid", "Tgid", "PPid", "NStgid", "NSpid", "NSpgid", "NSsid"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (!strcmp(field, names[i]))
			return 1;
	return 0;
}

static void file(const char *name, char split)
{
	static char line[1 << 16];
	char path[128];
	snprintf(path, sizeof path, "/proc/self/%s", name);
	FILE *file = fopen(path, "re");
	if (!file) {
		printf("%s errno %d\n", name, errno);
		return;
	}
	for (int n = 0; fgets(line, sizeof line, file); n++) {
		line[strcspn(line, "\n")] = 0;
		char *value = split ? strchr(line, split) : NULL;
		if (value) {
			*value++ = 0;
			printf("%s/%s", name, line);
		} else {
			printf("%s/%d", name, n);
			value = line;
		}
		words(value, split && holds_pids(line));
	}
	if (ferror(file))
		printf("%s errno %d\n", name, errno);
	fclose(file);
}

static void files(void)
{
	static const char *const whole[] = {
		"limits", "cgroup", "personality", "oom_score_adj", "oom_adj", "timerslack_ns", "mountinfo",
		"loginuid", "sessionid", "coredump_filter", "uid_map", "gid_map", "projid_map", "setgroups",
		"timens_offsets", "cpu_resctrl_groups", "cpuset", "cmdline", "comm", "autogroup",
		"attr/current", "attr/prev", "attr/exec", "attr/fscreate", "attr/keycreate", "attr/sockcreate",
		"attr/apparmor/current", "attr/apparmor/prev", "attr/apparmor/exec",
	};
	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
		file(whole[i], 0);
	file("status", ':');
	file("ksm_stat", ' ');
	static const char *const links[] = {
		"exe", "root", "cwd", "ns/cgroup", "ns/ipc", "ns/mnt", "ns/net", "ns/pid", "ns/pid_for_children",
		"ns/time", "ns/time_for_children", "ns/user", "ns/uts",
	};
	for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
		char path[64], target[4096];
		snprintf(path, sizeof path, "/proc/self/%s", links[i]);
		ssize_t length = readlink(path, target, sizeof target);
		if (length < 0)
			printf("%s errno %d\n", links[i], errno);
		else
			printf("%s ", links[i]), text(target, length);
	}
}

/* Some fields of /proc/self/stat, by their numbers in proc(5). */
static void stat_fields(void)
{
	static const int wanted[] = {5, 6, 7, 8, 18, 19, 20, 21, 31, 32, 33, 34, 38, 40, 41};
	char line[4096] = "";
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, line, sizeof line - 1) < 0) {
		printf("stat errno %d\n", errno);
		return;
	}
	close(fd);
	char *rest = strrchr(line, ')') + 2, *field;
	for (int n = 3; (field = strsep(&rest, " ")) != NULL; n++)
		for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
			if (wanted[i] == n) {
				printf("stat/%d", n);
				words(field, n < 9);
			}
}

static void terminal(int fd)
{
	struct termios modes;
	struct winsize size;
	if (tcgetattr(fd, &modes) == 0) {
		printf("fd/%d/modes %x %x %x %x", fd, modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag);
		for (int i = 0; i < 19; i++)
			printf(" %x", modes.c_cc[i]);
		putchar('\n');
	}
	if (ioctl(fd, TIOCGWINSZ, &size) == 0)
		printf("fd/%d/size %d %d %d %d\n", fd, size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel);
}

static void open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	if (!dir) {
		printf("fd errno %d\n", errno);
		return;
	}
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		int fd = atoi(entry->d_name);
		if (entry->d_name[0] == '.' || fd == dirfd(dir))
			continue;
		char key[32], path[64], target[4096];
		struct stat st;
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ssize_t length = readlink(path, target, sizeof target);
		printf("fd/%d/target ", fd);
		text(target, length < 0 ? 0 : length);
		if (fstat(fd, &st) == 0)
			printf("fd/%d/stat dev %lx ino %lu mode %o uid %u gid %u rdev %lx size %ld\n", fd, st.st_dev,
			       st.st_ino, st.st_mode, st.st_uid, st.st_gid, st.st_rdev, st.st_size);
		printf("fd/%d/flags %#x fd %#x tty %d\n", fd, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD), isatty(fd));
		snprintf(key, sizeof key, "fdinfo/%d", fd);
		file(key, ':');
		if (isatty(fd))
			terminal(fd);
	}
	closedir(dir);
}

static void credentials(void)
{
	uid_t r, e, s;
	gid_t groups[1024];
	getresuid(&r, &e, &s);
	printf("uids %u %u %u fs %d\n", r, e, s, (int)syscall(SYS_setfsuid, -1));
	getresgid(&r, &e, &s);
	printf("gids %u %u %u fs %d\n", r, e, s, (int)syscall(SYS_setfsgid, -1));
	int count = getgroups(1024, groups);
	printf("groups");
	for (int i = 0; i < count; i++)
		printf(" %u", groups[i]);
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {{0}};
	syscall(SYS_capget, &header, data);
	printf("\ncapget %x%08x %x%08x %x%08x\ncapbset", data[1].effective, data[0].effective, data[1].permitted,
	       data[0].permitted, data[1].inheritable, data[0].inheritable);
	for (int cap = 0; cap < 64; cap++)
		printf(" %d", prctl(PR_CAPBSET_READ, cap));
	printf("\nambient");
	for (int cap = 0; cap < 64; cap++)
		printf(" %d", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0));
	putchar('\n');
}

static void process_controls(void)
{
	static const struct {
		const char *name;
		int option, second;
	} plain[] = {
		{"dumpable", PR_GET_DUMPABLE, 0}, {"keepcaps", PR_GET_KEEPCAPS, 0}, {"timing", PR_GET_TIMING, 0},
		{"seccomp", PR_GET_SECCOMP, 0}, {"securebits", PR_GET_SECUREBITS, 0},
		{"timerslack", PR_GET_TIMERSLACK, 0}, {"mce_kill", PR_MCE_KILL_GET, 0},
		{"no_new_privs", PR_GET_NO_NEW_PRIVS, 0}, {"thp_disable", PR_GET_THP_DISABLE, 0},
		{"store_bypass", PR_GET_SPECULATION_CTRL, 0}, {"indirect_branch", PR_GET_SPECULATION_CTRL, 1},
		{"l1d_flush", PR_GET_SPECULATION_CTRL, 2}, {"io_flusher", 58, 0}, {"mdwe", 66, 0},
		{"memory_merge", 68, 0},
	};
	char key[32];
	for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
		snprintf(key, sizeof key, "prctl/%s", plain[i].name);
		number(key, prctl(plain[i].option, plain[i].second, 0, 0, 0));
	}
	int value = 0;
	if (prctl(PR_GET_PDEATHSIG, &value, 0, 0, 0) == 0)
		number("prctl/pdeathsig", value);
	if (prctl(PR_GET_CHILD_SUBREAPER, &value, 0, 0, 0) == 0)
		number("prctl/subreaper", value);
	unsigned long cookie = 0;
	if (prctl(62, 0, getpid(), 0, &cookie) == 0)
		number("prctl/core_sched", cookie != 0);
#ifdef __x86_64__
	prctl(PR_GET_TSC, &value, 0, 0, 0);
	number("prctl/tsc", value);
	number("arch/cpuid", syscall(SYS_arch_prctl, 0x1011, 0));
	unsigned long bits = 0;
	number("arch/xcomp", syscall(SYS_arch_prctl, 0x1023, &bits));
	number("arch/xcomp_bits", bits);
	bits = 0;
	number("arch/shadow_stack", syscall(SYS_arch_prctl, 0x5005, &bits));
	number("arch/shadow_stack_bits", bits);
#endif
	number("personality", syscall(SYS_personality, 0xffffffff));
}

static void scheduling(void)
{
	unsigned int attr[16] = {0};
	number("sched/policy", sched_getscheduler(0));
	number("sched/getattr", syscall(SYS_sched_getattr, 0, attr, sizeof attr, 0));
	printf("sched/attr");
	/* Of the whole: not the size, and not the slice of the fair classes, which is the kernel's own. */
	for (int i = 1; i < 14; i++)
		printf(" %x", attr[i]);
	unsigned long mask[128] = {0};
	long length = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
	printf("\nsched/affinity");
	for (long i = 0; i < length / 8; i++)
		printf(" %lx", mask[i]);
	putchar('\n');
	errno = 0;
	printf("nice %d\n", getpriority(PRIO_PROCESS, 0));
	number("ioprio", syscall(SYS_ioprio_get, 1, 0));
	int mode = 0;
	unsigned long nodes[16] = {0};
	number("mempolicy", syscall(SYS_get_mempolicy, &mode, nodes, 1024, 0, 0));
	printf("mempolicy/mode %d %lx\n", mode, nodes[0]);
}

static void signals(void)
{
	/* The kernel's own structure: glibc hides what it uses itself. */
	unsigned long action[8], mask = 0, pending = 0;
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
	syscall(SYS_rt_sigpending, &pending, 8);
	printf("signals/mask %lx pending %lx\n", mask, pending);
	for (int signal = 1; signal <= 64; signal++) {
		memset(action, 0, sizeof action);
		if (syscall(SYS_rt_sigaction, signal, NULL, action, 8) == 0)
			printf("signals/%d %s\n", signal, action[0] == 0 ? "default" : action[0] == 1 ? "ignored" : "handler");
	}
	stack_t stack;
	if (sigaltstack(NULL, &stack) == 0)
		printf("signals/stack %x\n", stack.ss_flags);
	for (int timer = 0; timer < 3; timer++) {
		struct itimerval value;
		if (getitimer(timer, &value) == 0)
			printf("itimer/%d %ld\n", timer, value.it_value.tv_sec + value.it_interval.tv_sec);
	}
}

static void keyrings(void)
{
	static const char *const names[] = {"", "thread", "process", "session", "user", "user_session", "group", "reqkey_auth"};
	for (int id = 1; id < 8; id++) {
		char key[32], description[4096];
		snprintf(key, sizeof key, "keyring/%s", names[id]);
		long serial = syscall(SYS_keyctl, 0 /* GET_KEYRING_ID */, -id, 0);
		number(key, serial);
		long length = syscall(SYS_keyctl, 6 /* DESCRIBE */, -id, description, sizeof description);
		if (length > 0)
			printf("%s/description ", key), text(description, length - 1);
		else
			printf("%s/description errno %d\n", key, errno);
	}
	number("keyring/default", syscall(SYS_keyctl, 14 /* SET_REQKEY_KEYRING */, -1));
}

static void session_and_place(void)
{
	struct stat st;
	char cwd[4096];
	struct utsname name;
	mode_t mask = umask(0);
	umask(mask);
	printf("umask %o\n", mask);
	pid("pgid", getpgid(0));
	pid("sid", getsid(0));
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	printf("tty %s\n", tty < 0 ? "none" : "controlling");
	if (tty >= 0) {
		pid("tty/pgrp", tcgetpgrp(tty));
		pid("tty/sid", tcgetsid(tty));
	}
	printf("getcwd %s\n", getcwd(cwd, sizeof cwd) ? cwd : strerror(errno));
	if (stat("/", &st) == 0)
		printf("root/stat dev %lx ino %lu\n", st.st_dev, st.st_ino);
	if (stat(".", &st) == 0)
		printf("dot/stat dev %lx ino %lu\n", st.st_dev, st.st_ino);
	uname(&name);
	printf("uname %s %s %s %s\n", name.nodename, name.release, name.machine, name.domainname);
	for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
		struct rlimit limit;
		if (getrlimit(resource, &limit) == 0)
			printf("rlimit/%d %#lx %#lx\n", resource, limit.rlim_cur, limit.rlim_max);
	}
}

static void start(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		printf("argv/%d ", i), text(argv[i], strlen(argv[i]));
	int n = 0;
	for (; environ[n]; n++)
		printf("env/%d ", n), text(environ[n], strlen(environ[n]));
	printf("auxv");
	for (unsigned long *entry = (unsigned long *)&environ[n + 1]; *entry; entry += 2)
		printf(" %lu", *entry);
	static const unsigned long values[] = {AT_SECURE, AT_UID, AT_EUID, AT_GID, AT_EGID, AT_PAGESZ, AT_HWCAP,
					       AT_HWCAP2, AT_CLKTCK, AT_FLAGS, AT_PHNUM};
	putchar('\n');
	for (size_t i = 0; i < sizeof values / sizeof *values; i++)
		printf("auxv/%lu %#lx\n", values[i], getauxval(values[i]));
	const char *name = (const char *)getauxval(AT_EXECFN);
	printf("auxv/execfn "), text(name, strlen(name));
}

int main(int argc, char **argv)
{
	static char buffer[1 << 20];
	setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
	/* First, before anything here opens a file. */
	open_files();
	start(argc, argv);
	files();
	stat_fields();
	credentials();
	process_controls();
	scheduling();
	signals();
	keyrings();
	session_and_place();
	return fflush(stdout) == 0 ? 0 : 1;
}
