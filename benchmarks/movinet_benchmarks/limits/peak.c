/* What one core can do at most: prints multiply-adds a second of float32 and of int8 into
 * int32, then bytes a second that are read from a buffer of each size in the arguments.
 *
 * The best of many short runs: a peak is what nothing disturbs.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define WIDTH 64
#elif defined(__AVX__)
#define WIDTH 32
#else
#define WIDTH 16
#endif
/* Twelve sums by name, so that each has a register; more than a multiply-add's latency times
 * those that run at once. */
#define CHAINS 12
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define LOOPS 20000
#define RUNS 60

typedef float floats __attribute__((vector_size(WIDTH)));
typedef int64_t words __attribute__((vector_size(WIDTH)));

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* The compiler may neither know a value nor leave it out. */
#define HIDE(value) __asm__ volatile("" : "+x"(value))
#if defined(__aarch64__)
#undef HIDE
#define HIDE(value) __asm__ volatile("" : "+w"(value))
#endif

static double float32(void)
{
    floats factor = {0}, step = {0};
#define DECLARE(j) floats sum##j = {0};
    EACH(DECLARE)
    HIDE(factor);
    HIDE(step);
    for (int i = 0; i < LOOPS; i++) {
#define ADD(j) \
    sum##j += factor * step; \
    HIDE(sum##j);
        EACH(ADD)
    }
    return (double)LOOPS * CHAINS * (WIDTH / 4);
}

#if defined(__AVX512VNNI__) && defined(__AVX512F__)
typedef __m512i codes;
#define MULTIPLY_ADD(sum, a, b) _mm512_dpbusd_epi32(sum, a, b)
#define OF_ONE 64
#elif defined(__AVXVNNI__)
typedef __m256i codes;
#define MULTIPLY_ADD(sum, a, b) _mm256_dpbusd_avx_epi32(sum, a, b)
#define OF_ONE 32
#elif defined(__AVX2__) /* exact products of int8 need 16 bits each */
typedef __m256i codes;
#define MULTIPLY_ADD(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
#define OF_ONE 16
#elif defined(__ARM_FEATURE_DOTPROD)
typedef int32x4_t codes;
#define MULTIPLY_ADD(sum, a, b) \
    vdotq_s32(sum, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b))
#define OF_ONE 16
#endif

static double int8(void)
{
#ifdef OF_ONE
    codes factor, step;
    memset(&factor, 0, sizeof factor);
    memset(&step, 0, sizeof step);
#define DECLARE_CODES(j) codes sum##j = factor;
    EACH(DECLARE_CODES)
    for (int i = 0; i < LOOPS; i++) {
        /* Hidden each time, or the product is taken out of the loop. */
#define ADD_CODES(j) \
    HIDE(factor); \
    sum##j = MULTIPLY_ADD(sum##j, factor, step); \
    HIDE(sum##j);
        EACH(ADD_CODES)
    }
    return (double)LOOPS * CHAINS * OF_ONE;
#else
    return float32();
#endif
}

static double best(double (*work)(void))
{
    double rate = 0;
    for (int i = 0; i < RUNS; i++) {
        double start = now(), done = work(), speed = done / (now() - start);
        if (speed > rate)
            rate = speed;
    }
    return rate;
}

static double bandwidth(size_t size)
{
    size_t count = size / WIDTH / 8 * 8;
    words *buffer = aligned_alloc(64, (count * WIDTH + 63) / 64 * 64);
    if (!buffer || !count)
        exit(1);
    memset(buffer, 1, count * WIDTH);
    words sum0 = {0}, sum1 = {0}, sum2 = {0}, sum3 = {0};
    words sum4 = {0}, sum5 = {0}, sum6 = {0}, sum7 = {0};
    double rate = 0, end = now() + 1;
    while (now() < end) {
        double start = now();
        for (size_t i = 0; i < count; i += 8) {
            sum0 ^= buffer[i], sum1 ^= buffer[i + 1], sum2 ^= buffer[i + 2];
            sum3 ^= buffer[i + 3], sum4 ^= buffer[i + 4], sum5 ^= buffer[i + 5];
            sum6 ^= buffer[i + 6], sum7 ^= buffer[i + 7];
        }
        sum0 ^= sum1 ^ sum2 ^ sum3 ^ sum4 ^ sum5 ^ sum6 ^ sum7;
        HIDE(sum0);
        double speed = count * (double)WIDTH / (now() - start);
        if (speed > rate)
            rate = speed;
    }
    free(buffer);
    return rate;
}

int main(int argc, char **argv)
{
    printf("%.0f\n%.0f\n", best(float32), best(int8));
    for (int i = 1; i < argc; i++)
        printf("%.0f\n", bandwidth(strtoull(argv[i], NULL, 10)));
    return 0;
}
