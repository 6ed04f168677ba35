#!/bin/sh
# A small project in C: several files, a static and a shared library, tests that run, an installation.
set -eu
umask 022
mkdir -p project/src project/include
cd project
cat >include/count.h <<'C'
int count_words(const char *text);
int count_lines(const char *text);
C
cat >src/words.c <<'C'
#include <ctype.h>
#include "count.h"
int count_words(const char *text) {
    int words = 0, inside = 0;
    for (; *text; text++) {
        int letter = !isspace((unsigned char)*text);
        words += letter && !inside;
        inside = letter;
    }
    return words;
}
C
cat >src/lines.c <<'C'
#include <string.h>
#include "count.h"
int count_lines(const char *text) {
    int lines = 0;
    while ((text = strchr(text, '\n'))) {
        lines++;
        text++;
    }
    return lines;
}
C
cat >src/main.c <<'C'
#include <stdio.h>
#include <stdlib.h>
#include "count.h"
int main(int argc, char **argv) {
    FILE *file = argc > 1 ? fopen(argv[1], "r") : NULL;
    if (!file) {
        perror(argc > 1 ? argv[1] : "no file");
        return 2;
    }
    char *text = calloc(1, 1 << 16);
    fread(text, 1, (1 << 16) - 1, file);
    printf("%d lines, %d words\n", count_lines(text), count_words(text));
    return 0;
}
C
cat >Makefile <<'MAKE'
CFLAGS = -O2 -Wall -Werror -Wno-unused-result -Iinclude -fPIC -MMD
OBJECTS = build/words.o build/lines.o

all: build/count build/count-shared
build/%.o: src/%.c | build
	$(CC) $(CFLAGS) -c -o $@ $<
build:
	mkdir -p $@
build/libcount.a: $(OBJECTS)
	$(AR) rcs $@ $^
build/libcount.so: $(OBJECTS)
	$(CC) -shared -o $@ $^
build/count: build/main.o build/libcount.a
	$(CC) -o $@ $^
build/count-shared: build/main.o build/libcount.so
	$(CC) -o $@ build/main.o -Lbuild -lcount -Wl,-rpath,'$$ORIGIN'
check: all
	build/count src/words.c
	build/count-shared src/words.c
install: all
	install -d $(DESTDIR)/bin $(DESTDIR)/lib
	install -m 755 build/count $(DESTDIR)/bin
	install -m 644 build/libcount.a $(DESTDIR)/lib
	strip $(DESTDIR)/bin/count
clean:
	rm -rf build
-include $(wildcard build/*.d)
MAKE
make --silent -j2
make --silent check
make --silent --question all
make --silent install DESTDIR="$PWD/installed"
installed/bin/count src/lines.c
installed/bin/count missing 2>&1 || echo "status $?"
ar t build/libcount.a
nm --defined-only build/libcount.a
touch -d '2001-01-01 UTC' src/words.c
cp -a src copied
stat -c '%n %Y %A' copied/words.c
make --question && echo 'nothing to do'
sed -i 's/words++/words += 1/; s/return words/return words + 0/' src/words.c
if make --question; then exit 1; fi
make --silent check
printf 'int main(void) { return }\n' >src/wrong.c
cc -c src/wrong.c -o wrong.o 2>&1 || echo "status $?"
test ! -e wrong.o
cp -a build kept
make --silent clean
