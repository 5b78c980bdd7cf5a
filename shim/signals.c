#define _GNU_SOURCE
#include "signals.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/proto.h"
#include "base/signame.h"
#include "hook.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

static uint64_t taken; /* bit s-1: signal s is ours to guard */
static struct sigaction shadow[65]; /* what the program believes is installed */
static atomic_flag shadow_lock = ATOMIC_FLAG_INIT;

typedef int sigaction_fn(int, const struct sigaction *, struct sigaction *);
static sigaction_fn *real_sigaction;

static void resolve(void)
{
	if (!real_sigaction)
		real_sigaction = (sigaction_fn *)dlvsym(RTLD_NEXT, "sigaction", "GLIBC_2.2.5");
}

static bool guarded(int sig)
{
	return sig >= 1 && sig <= 64 && (taken >> (sig - 1) & 1);
}

/* Handlers may call sigaction too: hold the lock only with signals blocked. */
static void lock(sigset_t *old)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, old);
	while (atomic_flag_test_and_set(&shadow_lock))
		;
}

static void unlock(const sigset_t *old)
{
	atomic_flag_clear(&shadow_lock);
	sigprocmask(SIG_SETMASK, old, NULL);
}

/* Sent by kill, tgkill or sigqueue from outside the namespace. Timers carry other things in that field. */
static bool from_outside(const siginfo_t *i)
{
	return (i->si_code == SI_USER || i->si_code == SI_TKILL || i->si_code == SI_QUEUE) && i->si_pid == 0;
}

static bool is_delivery(const siginfo_t *i)
{
	return i->si_code == SI_QUEUE && i->si_pid == 1 && i->si_value.sival_int == CK_DELIVER_VALUE;
}

static void notify(int sig)
{
	siginfo_t i;
	memset(&i, 0, sizeof i);
	i.si_signo = CK_NOTIFY_SIGNAL;
	i.si_code = SI_QUEUE;
	i.si_pid = getpid();
	i.si_uid = getuid();
	i.si_value.sival_int = sig;
	syscall(SYS_rt_sigqueueinfo, 1, CK_NOTIFY_SIGNAL, &i);
}

static void default_action(int sig)
{
	/* Both of the signals that are guarded by default end a process, and so do nearly all others. */
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t one;
	real_sigaction(sig, &dfl, NULL);
	sigemptyset(&one);
	sigaddset(&one, sig);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
}

static void guard(int sig, siginfo_t *info, void *uc)
{
	int keep = errno;
	if (from_outside(info)) {
		notify(sig);
		errno = keep;
		return;
	}
	sigset_t old;
	lock(&old);
	struct sigaction user = shadow[sig];
	bool handler = user.sa_handler != SIG_DFL && user.sa_handler != SIG_IGN;
	if (handler && (user.sa_flags & (int)SA_RESETHAND))
		shadow[sig].sa_handler = SIG_DFL;
	unlock(&old);
	errno = keep;
	if (handler && (user.sa_flags & SA_SIGINFO))
		user.sa_sigaction(sig, info, uc);
	else if (handler)
		user.sa_handler(sig);
	else if (user.sa_handler == SIG_DFL && !is_delivery(info))
		default_action(sig);
}

/* What the kernel is told when the program has asked for @user: our handler, with the program's mask and
 * flags, so that blocking and restarting are as it wants them. */
static struct sigaction kernel_side(const struct sigaction *user)
{
	struct sigaction k = *user;
	if (user->sa_handler == SIG_IGN)
		return k; /* ignored is ignored, and inherited by exec as such */
	k.sa_sigaction = guard;
	k.sa_flags |= SA_SIGINFO;
	k.sa_flags &= ~(int)SA_RESETHAND;
	if (user->sa_handler == SIG_DFL) {
		k.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
		sigemptyset(&k.sa_mask);
	}
	return k;
}

CK_EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	resolve();
	if (!guarded(sig))
		return real_sigaction(sig, act, old);
	sigset_t mask;
	struct sigaction before, now;
	int rc = 0;
	if (act)
		now = *act;
	lock(&mask);
	before = shadow[sig];
	if (act) {
		struct sigaction k = kernel_side(&now);
		rc = real_sigaction(sig, &k, NULL);
		if (rc == 0)
			shadow[sig] = now;
	}
	unlock(&mask);
	if (rc == 0 && old)
		*old = before;
	return rc;
}

static sighandler_t install(int sig, sighandler_t h, int flags)
{
	struct sigaction a = { .sa_handler = h, .sa_flags = flags }, old;
	sigemptyset(&a.sa_mask);
	if (!(flags & SA_NODEFER))
		sigaddset(&a.sa_mask, sig);
	return sigaction(sig, &a, &old) ? SIG_ERR : old.sa_handler;
}

typedef sighandler_t signal_fn(int, sighandler_t);

static sighandler_t pass(const char *name, int sig, sighandler_t h)
{
	signal_fn *real = (signal_fn *)dlvsym(RTLD_NEXT, name, "GLIBC_2.2.5");
	if (real)
		return real(sig, h);
	errno = ENOSYS;
	return SIG_ERR;
}

CK_EXPORT sighandler_t signal(int sig, sighandler_t h)
{
	return guarded(sig) ? install(sig, h, SA_RESTART) : pass("signal", sig, h);
}

CK_EXPORT sighandler_t bsd_signal(int sig, sighandler_t h)
{
	return guarded(sig) ? install(sig, h, SA_RESTART) : pass("bsd_signal", sig, h);
}

CK_EXPORT sighandler_t ssignal(int sig, sighandler_t h)
{
	return guarded(sig) ? install(sig, h, SA_RESTART) : pass("ssignal", sig, h);
}

CK_EXPORT sighandler_t sysv_signal(int sig, sighandler_t h)
{
	return guarded(sig) ? install(sig, h, (int)SA_RESETHAND | SA_NODEFER) : pass("sysv_signal", sig, h);
}

CK_EXPORT sighandler_t __sysv_signal(int sig, sighandler_t h)
{
	return guarded(sig) ? install(sig, h, (int)SA_RESETHAND | SA_NODEFER) : pass("__sysv_signal", sig, h);
}

CK_EXPORT sighandler_t sigset(int sig, sighandler_t h)
{
	if (!guarded(sig))
		return pass("sigset", sig, h);
	sigset_t one, old;
	sigemptyset(&one);
	sigaddset(&one, sig);
	struct sigaction before;
	sigaction(sig, NULL, &before);
	sighandler_t was = before.sa_handler;
	if (h != SIG_HOLD && install(sig, h, 0) == SIG_ERR)
		return SIG_ERR;
	sigprocmask(h == SIG_HOLD ? SIG_BLOCK : SIG_UNBLOCK, &one, &old);
	return sigismember(&old, sig) ? SIG_HOLD : was;
}

CK_EXPORT int sigignore(int sig)
{
	struct sigaction a = { .sa_handler = SIG_IGN };
	return sigaction(sig, &a, NULL);
}

CK_EXPORT int siginterrupt(int sig, int interrupt)
{
	struct sigaction a;
	if (sigaction(sig, NULL, &a))
		return -1;
	a.sa_flags = interrupt ? a.sa_flags & ~SA_RESTART : a.sa_flags | SA_RESTART;
	return sigaction(sig, &a, NULL);
}

/* Programs that wait for signals instead of handling them. What came from outside is passed on and not
 * seen; what is to be delivered after all is. */
CK_EXPORT int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
	siginfo_t i;
	struct timespec left;
	uint64_t until = 0;
	if (timeout)
		until = ck_now_ns() + (uint64_t)timeout->tv_sec * 1000000000u + (uint64_t)timeout->tv_nsec;
	for (;;) {
		if (timeout) {
			uint64_t now = ck_now_ns(), ns = now < until ? until - now : 0;
			left = (struct timespec){ .tv_sec = (time_t)(ns / 1000000000u),
				.tv_nsec = (long)(ns % 1000000000u) };
		}
		int sig = (int)syscall(SYS_rt_sigtimedwait, set, &i, timeout ? &left : NULL, 8);
		if (sig > 0 && guarded(sig) && from_outside(&i)) {
			notify(sig);
			continue;
		}
		if (sig > 0 && info)
			*info = i;
		return sig;
	}
}

CK_EXPORT int sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
	return sigtimedwait(set, info, NULL);
}

CK_EXPORT int sigwait(const sigset_t *set, int *sig)
{
	int s;
	do
		s = sigtimedwait(set, NULL, NULL);
	while (s < 0 && errno == EINTR);
	if (s < 0)
		return errno;
	*sig = s;
	return 0;
}

void ck_signals_init(const char *list)
{
	uint64_t set;
	resolve();
	if (ck_signame_parse_list(list, &set))
		return; /* ckshim-run has said so already */
	for (int s = 1; s <= 64; s++) {
		if (!(set >> (s - 1) & 1) || real_sigaction(s, NULL, &shadow[s]))
			continue;
		struct sigaction k = kernel_side(&shadow[s]);
		real_sigaction(s, &k, NULL);
	}
	taken = set;
}
