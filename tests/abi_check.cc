// Compares shim/api.def and shim/cuda_abi.h with the toolkit's cuda.h. Compiled by tests/abi.bats where a
// toolkit is installed; prints one line for each difference. C++ because it can take a function type apart.
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <cudaProfiler.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>

static int differences, rows;

template <class T> std::string cls()
{
	if (std::is_same<T, float>::value)
		return "f32";
	if (std::is_pointer<T>::value)
		return "ptr";
	if (std::is_class<T>::value || std::is_union<T>::value)
		return sizeof(T) == 8 ? "u64" : "blob" + std::to_string(sizeof(T));
	return sizeof(T) == 8 ? "u64" : sizeof(T) == 4 ? "i32" : sizeof(T) == 2 ? "u16" : "u8";
}

template <class... A> std::string signature(CUresult (*)(A...))
{
	std::string s;
	int unused[] = { 0, ((s += (s.empty() ? "" : ", ") + cls<A>()), 0)... };
	(void)unused;
	return "(" + s + ")";
}

static void row(const char *name, const std::string &real, const char *ours)
{
	rows++;
	if (real != ours) {
		printf("%s: cuda.h has %s, api.def %s\n", name, real.c_str(), ours);
		differences++;
	}
}

static void value(const char *what, long long real, long long ours)
{
	rows++;
	if (real != ours) {
		printf("%s: cuda.h has %lld, cuda_abi.h %lld\n", what, real, ours);
		differences++;
	}
}

int main()
{
#define E(name, since, policy, nargs, classes) row(#name, signature((decltype(&name))0), #classes);
#include "rows.inc"
#undef E
#define V(what, ours) value(#what, (long long)(what), ours);
#define W(member, ours) value("offset of " #member, offsetof member, ours);
#include "values.inc"
#undef V
#undef W
	printf("%d compared, %d differ\n", rows, differences);
	return differences != 0;
}
