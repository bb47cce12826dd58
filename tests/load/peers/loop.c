/*
 * Runs a loop of INSTRUCTIONS instructions, and prints how many nanoseconds of CPU time that took: in the emulated machine,
 * where an instruction takes one, it has to be the same number. Usage: loop INSTRUCTIONS
 */
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

static long long cpu_time(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int argc, char **argv)
{
	unsigned long times = argc == 2 ? strtoul(argv[1], NULL, 10) / 2 : 0;
	long long begun;

	if (times == 0) {
		fprintf(stderr, "usage: loop INSTRUCTIONS\n");
		return EX_USAGE;
	}
	begun = cpu_time();
	__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(times) : : "cc");
	printf("%lld\n", cpu_time() - begun);
	return EX_OK;
}
