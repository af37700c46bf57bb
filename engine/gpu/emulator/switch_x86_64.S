// switch_x86_64.S: void vitrine_emulator_switch(void** from, void* to): leaves the stack pointer of this fiber at *from
// and goes on where the one of `to` stopped. Only what a callee must preserve is kept.
#ifdef __x86_64__
        .text
        .globl  vitrine_emulator_switch
        .hidden vitrine_emulator_switch
        .type   vitrine_emulator_switch, @function
vitrine_emulator_switch:
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        popq    %rcx            // not ret: it would be predicted to return to the caller of this fiber
        jmp     *%rcx
        .size   vitrine_emulator_switch, .-vitrine_emulator_switch
#endif
        .section .note.GNU-stack, "", @progbits
