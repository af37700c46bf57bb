// main.cpp: runs every test. `vitrine_tests --help` lists doctest's filters.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
